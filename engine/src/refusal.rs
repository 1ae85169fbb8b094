// SPDX-License-Identifier: GPL-2.0-only
//! Refusals: why a Wasm module was not loaded.

use alloc::string::String;
use core::fmt;

/// The kind of a refusal. It decides the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The bytes are not a valid Wasm module.
    Malformed,
    /// The module is over a limit.
    Limit,
    /// An import needs a capability that was not granted.
    Denied,
    /// The module uses a proposal or a construct that the engine does not support.
    Unsupported,
    /// An export or import is missing, unknown or of the wrong type, or initialisation failed.
    Interface,
    /// Memory ran out.
    OutOfMemory,
    /// The caller was killed, so the build was aborted.
    Interrupted,
}

impl RefusalKind {
    /// The errno, as a positive number. All Linux architectures have these values, except that
    /// `EOPNOTSUPP` differs on Alpha, MIPS, PA-RISC and SPARC. None of these has Rust in the
    /// kernel.
    pub const fn errno(self) -> i32 {
        match self {
            RefusalKind::Interrupted => 4,  // EINTR
            RefusalKind::Malformed => 8,    // ENOEXEC
            RefusalKind::OutOfMemory => 12, // ENOMEM
            RefusalKind::Denied => 13,      // EACCES
            RefusalKind::Interface => 22,   // EINVAL
            RefusalKind::Limit => 27,       // EFBIG
            RefusalKind::Unsupported => 95, // EOPNOTSUPP
        }
    }
}

/// Why a module was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of a refusal. It decides the errno.
    pub kind: RefusalKind,
    /// One or two sentences for the operator: what is wrong, at which offset, and what to do about
    /// it.
    pub message: String,
}

impl Refusal {
    /// A refusal with this message.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for Refusal {}

/// `refuse!(Limit, "…", …)` returns that [`Refusal`] from the function.
macro_rules! refuse {
    ($kind:ident, $($message:tt)+) => {
        return Err($crate::refusal::Refusal::new(
            $crate::refusal::RefusalKind::$kind,
            alloc::format!($($message)+),
        ))
    };
}
pub(crate) use refuse;
