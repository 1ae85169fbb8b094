// SPDX-License-Identifier: GPL-2.0-only
//! Names of filters.

use core::ffi::CStr;
use core::fmt;

use super::abi::ioctl::NAME_LEN;
use super::wrong::Wrong;

/// A filter's name.
///
/// # Invariants
///
/// 1 to 63 letters, digits, `.`, `_` or `-`, the first a letter or a digit, not all digits;
/// the rest is NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name([u8; NAME_LEN]);

impl Name {
    /// Parses a name from a request.
    ///
    /// # Errors
    ///
    /// The name is invalid.
    pub fn parse(field: &[u8; NAME_LEN]) -> Result<Self, Wrong> {
        let Some(len) = field.iter().position(|&byte| byte == 0) else {
            return Err(Wrong::NameTooLong);
        };
        let name = &field[..len];
        if field[len..].iter().any(|&byte| byte != 0) {
            return Err(Wrong::NameRest);
        }
        let Some(first) = name.first() else {
            return Err(Wrong::NameEmpty);
        };
        if !first.is_ascii_alphanumeric() {
            return Err(Wrong::NameStart);
        }
        for (offset, &byte) in name.iter().enumerate() {
            if !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'_' | b'-') {
                return Err(Wrong::NameByte(byte, offset));
            }
        }
        if name.iter().all(u8::is_ascii_digit) {
            return Err(Wrong::NameDigits);
        }
        // INVARIANT: The code above checked all parts of the invariant.
        Ok(Name(*field))
    }

    /// The name for a `run` of a module without a name.
    pub fn anonymous() -> Self {
        let mut name = [0; NAME_LEN];
        name[..3].copy_from_slice(b"run");
        // INVARIANT: The name is three letters.
        Name(name)
    }

    /// The name as a C string.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }

    /// The name as a field of a struct.
    pub fn field(&self) -> [u8; NAME_LEN] {
        self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.iter().position(|&byte| byte == 0).unwrap_or(0);
        f.write_str(core::str::from_utf8(&self.0[..len]).unwrap_or_default())
    }
}
