// SPDX-License-Identifier: GPL-2.0-only
//! Digests, signatures, lockdown, and the module parameters that the kernel crate's `module!`
//! cannot declare (`control/admission.c`).
//!
//! C headers: `include/crypto/sha2.h`, `include/linux/verification.h`, `include/linux/security.h`

use kernel::error::to_result;
use kernel::prelude::*;

use crate::kernel_ext::bindings;

/// Bytes of a SHA-256 digest.
pub(crate) const DIGEST_LEN: usize = 32;

/// The SHA-256 digest of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; DIGEST_LEN] {
    let mut digest = [0; DIGEST_LEN];
    // SAFETY: `bytes` is valid for its length, and `digest` has the length of a digest.
    unsafe { bindings::nf_wasm_sha256(bytes.as_ptr().cast(), bytes.len(), digest.as_mut_ptr()) };
    digest
}

/// Checks a detached PKCS#7 signature of `bytes` against the keys that kernel modules are checked
/// against.
///
/// `ENOKEY`: the key is not trusted. `ENOPKG`: the kernel lacks the algorithm. `EKEYREJECTED`: the
/// signature does not match these bytes, or its key was revoked. `ENOMEM`: memory ran out. Other
/// errors: the signature is malformed.
pub(crate) fn verify_pkcs7(bytes: &[u8], signature: &[u8]) -> Result {
    // SAFETY: Both are valid for their lengths.
    to_result(unsafe {
        bindings::nf_wasm_signature_verify(
            bytes.as_ptr().cast(),
            bytes.len(),
            signature.as_ptr().cast(),
            signature.len(),
        )
    })
}

/// Whether lockdown forbids unsigned code. If so, the kernel logs the attempt. Process context.
pub(crate) fn is_unsigned_locked_down() -> bool {
    // SAFETY: Callable from process context.
    unsafe { bindings::nf_wasm_unsigned_locked_down() }
}

/// Whether lockdown forbids parameters that only tests need. If so, the kernel logs the attempt.
/// Process context.
pub(crate) fn is_parameters_locked_down() -> bool {
    // SAFETY: Callable from process context.
    unsafe { bindings::nf_wasm_parameters_locked_down() }
}

/// The parameter `require_signature`.
pub(crate) fn is_signature_required() -> bool {
    // SAFETY: Only reads a parameter.
    unsafe { bindings::nf_wasm_signature_required() }
}

/// Whether the parameter `allow_digests` lists a digest.
pub(crate) fn is_digest_listed(digest: &[u8; DIGEST_LEN]) -> bool {
    // SAFETY: The digest has as many bytes as the C half reads.
    unsafe { bindings::nf_wasm_digest_listed(digest.as_ptr()) }
}

/// Number of digests that `allow_digests` lists.
pub(crate) fn listed_digests() -> u32 {
    // SAFETY: Only reads a number.
    unsafe { bindings::nf_wasm_digests() }
}
