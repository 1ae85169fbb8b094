// SPDX-License-Identifier: GPL-2.0-only
//! Structs that cross from and to user space, extended as `copy_struct_from_user()` does it.

use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};

use crate::abi::ioctl::{
    Attach, AttachmentEntry, Detach, FilterEntry, Hook, Info, List, Load, Log, Replace, Run,
    Select, NAME_LEN,
};
use crate::name::Name;
use crate::namespace::Selector;
use crate::refusal::{refuse, Answer, Text};

/// A struct of the ABI: plain numbers, no padding, valid as all zero.
///
/// # Safety
///
/// Every bit pattern is valid, and no byte is padding.
pub(crate) unsafe trait Plain: Copy {
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: By the contract no byte is uninitialised.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the contract any bytes may be written.
        unsafe {
            core::slice::from_raw_parts_mut(core::ptr::from_mut(self).cast(), size_of::<Self>())
        }
    }

    fn zeroed() -> Self {
        // SAFETY: By the contract all zero is valid.
        unsafe { core::mem::zeroed() }
    }
}

/// The argument of a command: begins with its size, and may have room for a refusal.
pub(crate) trait Request: Plain {
    /// Bytes of the struct's first version.
    const FIRST_SIZE: usize = size_of::<Self>();

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

request!(Attach, Detach, Load, Replace, Run, Select);

impl Request for Info {
    fn log(&mut self) -> Option<&mut Log> {
        None
    }
}

impl Request for List {
    fn log(&mut self) -> Option<&mut Log> {
        None
    }
}

/// Reads a `T` at `from`, has `f` work on it, and writes it back; a refusal's text goes to the
/// caller's log buffer.
pub(crate) fn exchange<T: Request>(
    from: UserPtr,
    f: impl FnOnce(&mut T) -> Answer,
) -> Result<isize> {
    let mut request = T::zeroed();
    let size = read_sized(from, &mut request, T::FIRST_SIZE)?;
    if let Some(log) = request.log() {
        log.used = 0;
    }
    // A caller that could not be told of a change is refused before there is one.
    write_back(from, size, &request)?;
    let answer = f(&mut request);
    if let Err(refusal) = &answer {
        if let (Some(log), Some(text)) = (request.log(), &refusal.text) {
            write_log(log, text)?;
        }
    }
    write_back(from, size, &request)?;
    match answer {
        Ok(()) => Ok(0),
        Err(refusal) => Err(refusal.error),
    }
}

/// Writes as much of a request as its caller knows.
fn write_back<T: Plain>(to: UserPtr, size: usize, request: &T) -> Result {
    let known = size.min(size_of::<T>());
    UserSlice::new(to, known)
        .writer()
        .write_slice(&request.as_bytes()[..known])
}

/// Reads a struct whose first field is its size. Returns the size.
fn read_sized<T: Plain>(from: UserPtr, to: &mut T, first_size: usize) -> Result<usize> {
    let size: u32 = UserSlice::new(from, size_of::<u32>()).reader().read()?;
    let size = size as usize;
    if size < first_size {
        return Err(EINVAL);
    }
    if size > PAGE_SIZE {
        return Err(E2BIG);
    }
    read_extensible(from, size, to)?;
    // The caller may have changed the field since it was read; what was used is what counts.
    to.as_bytes_mut()[..size_of::<u32>()].copy_from_slice(&(size as u32).to_ne_bytes());
    Ok(size)
}

/// Reads `size` bytes, of which those that `T` does not have must be zero. What the caller does
/// not have stays zero.
pub(crate) fn read_extensible<T: Plain>(from: UserPtr, size: usize, to: &mut T) -> Result {
    let mut reader = UserSlice::new(from, size).reader();
    reader.read_slice(&mut to.as_bytes_mut()[..size.min(size_of::<T>())])?;
    let mut chunk = [0; 64];
    while !reader.is_empty() {
        let count = reader.len().min(chunk.len());
        let rest = &mut chunk[..count];
        reader.read_slice(rest)?;
        if rest.iter().any(|&byte| byte != 0) {
            return Err(E2BIG);
        }
    }
    Ok(())
}

/// Writes as much of `entry` as the caller's `size` has room for, and zeroes the rest.
pub(crate) fn write_extensible<T: Plain>(to: UserPtr, size: usize, entry: &T) -> Result {
    let mut writer = UserSlice::new(to, size).writer();
    writer.write_slice(&entry.as_bytes()[..size.min(size_of::<T>())])?;
    while !writer.is_empty() {
        let count = writer.len().min(64);
        writer.write_slice(&[0; 64][..count])?;
    }
    Ok(())
}

/// Writes `text` to a caller's buffer, as far as it fits.
pub(crate) fn write_log(log: &mut Log, text: &Text) -> Result {
    let bytes = text.as_bytes();
    let len = bytes.len().min(log.len as usize);
    if log.buf == 0 || len == 0 {
        return Ok(());
    }
    UserSlice::new(user_ptr(log.buf), len)
        .writer()
        .write_slice(&bytes[..len])?;
    log.used = len as u32;
    Ok(())
}

/// An address from a request.
pub(crate) fn user_ptr(address: u64) -> UserPtr {
    UserPtr::from_addr(address as usize)
}

/// Copies `len` bytes from a caller.
pub(crate) fn read_bytes(address: u64, len: u32) -> Result<KVVec<u8>> {
    let mut bytes = KVVec::new();
    UserSlice::new(user_ptr(address), len as usize).read_all(&mut bytes, GFP_KERNEL)?;
    Ok(bytes)
}

/// Refuses flags and reserved fields that are not zero.
pub(crate) fn check_unused(flags: u32, reserved: u32) -> Answer {
    if flags != 0 {
        refuse!(EOPNOTSUPP, "flags {:#x}: not known to this module", flags);
    }
    if reserved != 0 {
        refuse!(EINVAL, "a reserved field is not zero");
    }
    Ok(())
}

/// Which filter a request means.
pub(crate) fn selector(id: u32, name: &[u8; NAME_LEN]) -> Answer<Selector> {
    if id != 0 {
        return Ok(Selector::Id(id));
    }
    Ok(Selector::Name(Name::parse(name)?))
}
