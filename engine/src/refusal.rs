// SPDX-License-Identifier: GPL-2.0-only
//! Refusals: why a Wasm module was not loaded.

use alloc::string::String;
use core::fmt;

/// What sort of reason it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The bytes are no valid Wasm module.
    Malformed,
    /// The module is over a limit.
    Limit,
    /// An import needs a capability that was not granted.
    Denied,
    /// The module uses a proposal or a construct that the engine does not have.
    Unsupported,
    /// An export or import is missing, unknown or of the wrong type, or initialisation failed.
    Interface,
    /// Memory ran out.
    OutOfMemory,
    /// Nobody waits for it any more.
    Interrupted,
}

impl RefusalKind {
    /// The errno, as a positive number. The values are those of every Linux architecture but
    /// for `EOPNOTSUPP`, which differs on Alpha, MIPS, PA-RISC and SPARC; none of these has Rust
    /// in the kernel.
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

/// A refused module: what, where, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What sort of reason it was.
    pub kind: RefusalKind,
    /// One sentence or two, for people.
    pub message: String,
}

impl Refusal {
    /// One of this kind.
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

/// `refuse!(Limit, "…", …)`: leaves the function with that [`Refusal`].
macro_rules! refuse {
    ($kind:ident, $($message:tt)+) => {
        return Err($crate::refusal::Refusal::new(
            $crate::refusal::RefusalKind::$kind,
            alloc::format!($($message)+),
        ))
    };
}
pub(crate) use refuse;
