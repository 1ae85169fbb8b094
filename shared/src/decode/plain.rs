// SPDX-License-Identifier: GPL-2.0-only
//! Converts the ABI's structs to bytes.

use super::abi::ioctl::{
    Attach, AttachmentEntry, Detach, FilterEntry, GuestTest, Hook, Info, List, Load, Log, Replace,
    Run, Select,
};

/// A struct of the ABI: plain numbers, no padding, valid as all zero.
///
/// # Safety
///
/// Every bit pattern is valid, and no byte is padding.
pub unsafe trait Plain: Copy {
    /// Its bytes.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: `self` is valid for reads of its size while it is borrowed. By the contract of
        // `Plain` no byte is padding, so each is initialised.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// Its bytes, mutable.
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `self` is valid for reads and writes of its size, and exclusively borrowed. By
        // the contract of `Plain` no byte is padding, and any value may be written.
        unsafe {
            core::slice::from_raw_parts_mut(core::ptr::from_mut(self).cast(), size_of::<Self>())
        }
    }

    /// A struct of zeros.
    fn zeroed() -> Self {
        // SAFETY: By the contract of `Plain` every bit pattern is valid, so zeros are.
        unsafe { core::mem::zeroed() }
    }
}

/// The argument of a command. It begins with its size, and may have a [`Log`].
pub trait Request: Plain {
    /// Bytes of the struct's first version.
    const FIRST_SIZE: usize = size_of::<Self>();

    /// The log for the text of a refusal.
    fn log(&mut self) -> Option<&mut Log>;
}

/// Implements [`Plain`] for structs of the ABI. They must not have padding, which the header's test
/// checks.
macro_rules! plain {
    ($($name:ident),* $(,)?) => {
        // SAFETY: Integers and arrays of integers, without padding.
        $(unsafe impl Plain for $name {})*
    };
}

plain!(
    Attach,
    AttachmentEntry,
    Detach,
    FilterEntry,
    GuestTest,
    Hook,
    Info,
    List,
    Load,
    Replace,
    Run,
    Select,
);

macro_rules! request {
    ($($name:ident),* $(,)?) => {
        $(impl Request for $name {
            fn log(&mut self) -> Option<&mut Log> {
                Some(&mut self.log)
            }
        })*
    };
}

request!(Attach, Detach, GuestTest, Select);

/// As `request`, for structs that have grown. Takes the first field that the first version does not
/// have.
macro_rules! grown_request {
    ($($name:ident: $field:ident),* $(,)?) => {
        $(impl Request for $name {
            const FIRST_SIZE: usize = core::mem::offset_of!($name, $field);

            fn log(&mut self) -> Option<&mut Log> {
                Some(&mut self.log)
            }
        })*
    };
}

grown_request!(Load: signature, Replace: signature, Run: signature);

impl Request for Info {
    const FIRST_SIZE: usize = core::mem::offset_of!(Info, admission);

    fn log(&mut self) -> Option<&mut Log> {
        None
    }
}

impl Request for List {
    fn log(&mut self) -> Option<&mut Log> {
        None
    }
}
