// SPDX-License-Identifier: GPL-2.0-only
//! The ABI's structs as bytes.

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
        // SAFETY: `self` is valid for reads of its size while it is borrowed. `Plain` says that no byte
        // is padding, so each is initialised.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// Its bytes, to be written.
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `self` is valid for reads and writes of its size and borrowed for nobody else.
        // `Plain` says that no byte is padding and that any value may be written to it.
        unsafe {
            core::slice::from_raw_parts_mut(core::ptr::from_mut(self).cast(), size_of::<Self>())
        }
    }

    /// With nothing in it.
    fn zeroed() -> Self {
        // SAFETY: `Plain` says that every bit pattern is valid; all zero is one.
        unsafe { core::mem::zeroed() }
    }
}

/// The argument of a command: begins with its size, and may have room for a refusal.
pub trait Request: Plain {
    /// Bytes of the struct's first version.
    const FIRST_SIZE: usize = size_of::<Self>();

    /// Where a refusal is explained.
    fn log(&mut self) -> Option<&mut Log>;
}

/// Declares the ABI's structs plain. Whoever adds one answers for it: the header's test shows
/// that fields follow each other without a gap.
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

/// The same for structs that have grown, with the first field that is not of the first version.
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
