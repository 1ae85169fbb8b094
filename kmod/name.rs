// SPDX-License-Identifier: GPL-2.0-only
//! Names of filters.

use kernel::fmt;
use kernel::prelude::*;

use crate::abi::ioctl::NAME_LEN;
use crate::refusal::{refuse, Answer};

/// A filter's name.
///
/// # Invariants
///
/// 1 to 63 letters, digits, `.`, `_` or `-`, the first a letter or a digit, not all digits;
/// the rest is NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name([u8; NAME_LEN]);

impl Name {
    /// Takes a name from a request.
    pub(crate) fn parse(field: &[u8; NAME_LEN]) -> Answer<Self> {
        let Some(len) = field.iter().position(|&byte| byte == 0) else {
            refuse!(
                EINVAL,
                "name: longer than {} bytes, or without a NUL at its end",
                NAME_LEN - 1
            );
        };
        let name = &field[..len];
        if field[len..].iter().any(|&byte| byte != 0) {
            refuse!(EINVAL, "name: bytes after the NUL are not zero");
        }
        let Some(first) = name.first() else {
            refuse!(EINVAL, "name: empty");
        };
        if !first.is_ascii_alphanumeric() {
            refuse!(EINVAL, "name: must begin with a letter or a digit");
        }
        for (offset, &byte) in name.iter().enumerate() {
            if !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'_' | b'-') {
                refuse!(
                    EINVAL,
                    "name: byte {:#04x} at offset {}; only letters, digits, '.', '_' and '-' are \
                     allowed",
                    byte,
                    offset
                );
            }
        }
        if name.iter().all(u8::is_ascii_digit) {
            refuse!(
                EINVAL,
                "name: only digits would be taken for an id; add a letter"
            );
        }
        // INVARIANT: All of it was just checked.
        Ok(Name(*field))
    }

    /// For `run` of a module that has no name.
    pub(crate) fn anonymous() -> Self {
        let mut name = [0; NAME_LEN];
        name[..3].copy_from_slice(b"run");
        // INVARIANT: Three letters.
        Name(name)
    }

    /// As a field of a struct.
    pub(crate) fn field(&self) -> [u8; NAME_LEN] {
        self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.iter().position(|&byte| byte == 0).unwrap_or(0);
        f.write_str(core::str::from_utf8(&self.0[..len]).unwrap_or_default())
    }
}
