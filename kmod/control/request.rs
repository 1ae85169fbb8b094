// SPDX-License-Identifier: GPL-2.0-only
//! Access to the caller's memory, for [`crate::decode`], which copies ioctl structs in and out.

use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};

use crate::control::refusal::{Answer, Refusal};
use crate::decode::exchange::{self, Memory, Refused};
use crate::decode::plain::Request;
use crate::decode::wrong::Wrong;
use crate::kernel_ext::owner::OomOrigin;

/// The memory of the process that makes the call.
pub(crate) struct Caller;

impl Memory for Caller {
    fn read(&self, address: u64, to: &mut [u8]) -> core::result::Result<(), Wrong> {
        let slice = UserSlice::new(user_ptr(address), to.len());
        slice.reader().read_slice(to).map_err(|_| Wrong::Fault)
    }

    fn write(&self, address: u64, from: &[u8]) -> core::result::Result<(), Wrong> {
        let slice = UserSlice::new(user_ptr(address), from.len());
        slice.writer().write_slice(from).map_err(|_| Wrong::Fault)
    }
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        Refusal::new(Error::from_errno(-wrong.errno()), fmt!("{}", wrong))
    }
}

impl Refused for Refusal {
    fn text(&self) -> Option<&[u8]> {
        self.text.as_ref().map(|text| text.as_bytes())
    }
}

/// Copies a `T` from the address `from`, calls `f` with it, and copies it back.
pub(crate) fn exchange<T: Request>(from: usize, f: impl FnOnce(&mut T) -> Answer) -> Result<isize> {
    match exchange::exchange(&Caller, from as u64, f) {
        Ok(()) => Ok(0),
        Err(refusal) => Err(refusal.error),
    }
}

fn user_ptr(address: u64) -> UserPtr {
    UserPtr::from_addr(address as usize)
}

/// Copies `len` bytes from the caller.
pub(crate) fn read_bytes(address: u64, len: u32) -> Result<KVVec<u8>> {
    let _origin = OomOrigin::mark();
    let mut bytes = KVVec::new();
    UserSlice::new(user_ptr(address), len as usize).read_all(&mut bytes, GFP_KERNEL_ACCOUNT)?;
    Ok(bytes)
}
