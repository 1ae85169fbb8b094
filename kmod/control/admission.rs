// SPDX-License-Identifier: GPL-2.0-only
//! Admission: decides whether a Wasm module may run, before the engine parses it.
//!
//! | signature | by default | with `require_signature` | kernel locked down |
//! |---|---|---|---|
//! | good, key trusted | admitted | admitted | admitted |
//! | none, or of an unknown key | admitted | admitted if its digest is listed | refused |
//! | bad | refused | refused | refused |
//!
//! Under lockdown the list of digests does not count: root wrote it, and lockdown does not trust
//! root.

use kernel::fmt;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

use crate::abi::ioctl::{
    ADMISSION_LOCKED_DOWN, ADMISSION_SIGNATURE, ORIGIN_ALLOWLIST, ORIGIN_SIGNATURE,
    ORIGIN_UNCHECKED,
};
use crate::control::refusal::{refuse, Answer};
use crate::control::request::read_bytes;
use crate::decode::check;
use crate::kernel_ext::integrity::{self, DIGEST_LEN};

/// A SHA-256 digest.
#[derive(Clone, Copy)]
pub(crate) struct Digest([u8; DIGEST_LEN]);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Digest(integrity::sha256(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; DIGEST_LEN] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| f.write_fmt(fmt!("{byte:02x}")))
    }
}

/// An admitted Wasm module: its digest, and why it was admitted.
#[derive(Clone, Copy)]
pub(crate) struct Admission {
    pub(crate) digest: Digest,
    /// One of the ABI's `ORIGIN_*`.
    pub(crate) origin: u32,
}

impl Admission {
    /// The origin's name in the audit log.
    pub(crate) fn origin_name(&self) -> &'static CStr {
        match self.origin {
            ORIGIN_SIGNATURE => c"signature",
            ORIGIN_ALLOWLIST => c"allowlist",
            _ => c"unchecked",
        }
    }
}

/// Copies a signature from the caller; empty if there is none.
pub(crate) fn read_signature(address: u64, len: u32) -> Answer<KVVec<u8>> {
    check::signature_len(len)?;
    if len == 0 {
        return Ok(KVVec::new());
    }
    Ok(read_bytes(address, len)?)
}

/// Decides whether the Wasm module `wasm`, whose digest is `digest`, may run.
pub(crate) fn admit(wasm: &[u8], digest: Digest, signature: &[u8]) -> Answer<Admission> {
    let admitted = |origin| Ok(Admission { digest, origin });
    let signature = if signature.is_empty() {
        Err(ENODATA)
    } else {
        integrity::verify_pkcs7(wasm, signature)
    };
    let untrusted = match signature {
        Ok(()) => return admitted(ORIGIN_SIGNATURE),
        Err(error) if error == ENODATA || error == ENOKEY || error == ENOPKG => error,
        Err(error) if error == ENOMEM => return Err(ENOMEM.into()),
        Err(error) if error == EKEYREJECTED => refuse!(
            EKEYREJECTED,
            "the signature does not match this Wasm module, or its key was revoked; if {} is the \
             SHA-256 digest that the Wasm module should have, sign it again",
            digest
        ),
        Err(_) => refuse!(
            EBADMSG,
            "the signature is malformed: it must be a detached PKCS#7 signature in DER (openssl \
             cms -sign -binary -outform DER)"
        ),
    };
    // The kernel logs this check. So make it only if there is no trusted signature.
    let locked_down = integrity::is_unsigned_locked_down();
    let listed = integrity::is_digest_listed(digest.bytes());
    let required = integrity::is_signature_required();
    match (locked_down, listed, required) {
        (false, true, _) => return admitted(ORIGIN_ALLOWLIST),
        (false, false, false) => return admitted(ORIGIN_UNCHECKED),
        _ => (),
    }
    let (error, problem) = match untrusted {
        error if error == ENOKEY => (error, "signed with a key that this kernel does not trust"),
        error if error == ENOPKG => (error, "signed with an algorithm that this kernel lacks"),
        _ => (EKEYREJECTED, "not signed"),
    };
    if locked_down {
        refuse!(
            error,
            "the Wasm module is {}, and the kernel is locked down; sign it with a key in the \
             kernel's trusted keyrings (its SHA-256 digest is {}, but allow_digests has no effect \
             under lockdown)",
            problem,
            digest
        );
    }
    refuse!(
        error,
        "the Wasm module is {}, and require_signature is set; sign it with a key in the kernel's \
         trusted keyrings, or add its SHA-256 digest {} to \
         /sys/module/nf_wasm/parameters/allow_digests",
        problem,
        digest
    );
}

/// The set of the ABI's `ADMISSION_*` that is enforced.
pub(crate) fn enforced() -> u32 {
    /// Whether the kernel was found locked down. Lockdown is never lifted, and each check writes to
    /// the kernel's log.
    static LOCKED_DOWN: Atomic<bool> = Atomic::new(false);
    if !LOCKED_DOWN.load(Relaxed) && integrity::is_unsigned_locked_down() {
        LOCKED_DOWN.store(true, Relaxed);
    }
    let mut enforced = 0;
    if integrity::is_signature_required() {
        enforced |= ADMISSION_SIGNATURE;
    }
    if LOCKED_DOWN.load(Relaxed) {
        enforced |= ADMISSION_LOCKED_DOWN;
    }
    enforced
}

/// Whether parameters that only tests need may have an effect.
pub(crate) fn tests_allowed() -> bool {
    !integrity::is_parameters_locked_down()
}
