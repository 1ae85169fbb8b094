// SPDX-License-Identifier: GPL-2.0-only
//! Structs that cross from and to a caller, extended as `copy_struct_from_user()` does it.

use super::abi::ioctl::{Hook, Load, Log};
use super::check;
use super::plain::{Plain, Request};
use super::wrong::Wrong;

/// Bytes of the longest struct that a caller may know: a page.
const MAX_BYTES: usize = 4096;

/// A caller's memory. It may change at any time.
pub trait Memory {
    /// Reads from `address` on.
    ///
    /// # Errors
    ///
    /// [`Wrong::Fault`].
    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Wrong>;

    /// Writes from `address` on. On failure a part may have been written.
    ///
    /// # Errors
    ///
    /// [`Wrong::Fault`].
    fn write(&self, address: u64, from: &[u8]) -> Result<(), Wrong>;
}

/// Why a command was refused.
pub trait Refused: From<Wrong> {
    /// For people.
    fn text(&self) -> Option<&[u8]>;
}

/// Reads a `T` at `from`, has `f` work on it, and writes it back; a refusal's text goes to the
/// caller's log buffer.
///
/// # Errors
///
/// What `f` refuses, or what is wrong with the struct or its caller's memory.
pub fn exchange<T: Request, R: Refused>(
    memory: &impl Memory,
    from: u64,
    f: impl FnOnce(&mut T) -> Result<(), R>,
) -> Result<(), R> {
    let mut request = T::zeroed();
    let size = read_sized(memory, from, &mut request, T::FIRST_SIZE)?;
    if let Some(log) = request.log() {
        log.used = 0;
    }
    // A caller that could not be told of a change is refused before there is one.
    write_back(memory, from, size, &request)?;
    let answer = f(&mut request);
    if let Err(refusal) = &answer {
        if let (Some(log), Some(text)) = (request.log(), refusal.text()) {
            write_log(memory, log, text)?;
        }
    }
    write_back(memory, from, size, &request)?;
    answer
}

/// Writes as much of a request as its caller knows.
fn write_back<T: Plain>(
    memory: &impl Memory,
    to: u64,
    size: usize,
    request: &T,
) -> Result<(), Wrong> {
    memory.write(to, &request.as_bytes()[..size.min(size_of::<T>())])
}

/// Reads a struct whose first field is its size. Returns the size.
fn read_sized<T: Plain>(
    memory: &impl Memory,
    from: u64,
    to: &mut T,
    first_size: usize,
) -> Result<usize, Wrong> {
    let mut size = [0; size_of::<u32>()];
    memory.read(from, &mut size)?;
    let bytes = u32::from_ne_bytes(size) as usize;
    if bytes < first_size {
        return Err(Wrong::Size(bytes));
    }
    if bytes > MAX_BYTES {
        return Err(Wrong::UnknownPart);
    }
    read_extensible(memory, from, bytes, to)?;
    // The caller may have changed the field since it was read; what was used is what counts.
    to.as_bytes_mut()[..size.len()].copy_from_slice(&size);
    Ok(bytes)
}

/// Reads `size` bytes, of which those that `T` does not have must be zero. What the caller does
/// not have stays as it is.
///
/// # Errors
///
/// [`Wrong::Fault`] or [`Wrong::UnknownPart`].
pub fn read_extensible<T: Plain>(
    memory: &impl Memory,
    from: u64,
    size: usize,
    to: &mut T,
) -> Result<(), Wrong> {
    let mut done = size.min(size_of::<T>());
    memory.read(from, &mut to.as_bytes_mut()[..done])?;
    let mut chunk = [0; 64];
    while done < size {
        let count = (size - done).min(chunk.len());
        let rest = &mut chunk[..count];
        memory.read(from.wrapping_add(done as u64), rest)?;
        if rest.iter().any(|&byte| byte != 0) {
            return Err(Wrong::UnknownPart);
        }
        done += count;
    }
    Ok(())
}

/// Writes as much of `entry` as the caller's `size` has room for, and zeroes the rest.
///
/// # Errors
///
/// [`Wrong::Fault`].
pub fn write_extensible<T: Plain>(
    memory: &impl Memory,
    to: u64,
    size: usize,
    entry: &T,
) -> Result<(), Wrong> {
    let mut done = size.min(size_of::<T>());
    memory.write(to, &entry.as_bytes()[..done])?;
    while done < size {
        let count = (size - done).min(64);
        memory.write(to.wrapping_add(done as u64), &[0; 64][..count])?;
        done += count;
    }
    Ok(())
}

/// Writes `text` to a caller's buffer, as far as it fits.
///
/// # Errors
///
/// [`Wrong::Fault`].
pub fn write_log(memory: &impl Memory, log: &mut Log, text: &[u8]) -> Result<(), Wrong> {
    let len = text.len().min(log.len as usize);
    if log.buf == 0 || len == 0 {
        return Ok(());
    }
    memory.write(log.buf, &text[..len])?;
    log.used = len as u32;
    Ok(())
}

/// Reads the hooks of a load and hands each to `take`, checked.
///
/// # Errors
///
/// What is wrong with them, or what `take` says.
pub fn read_hooks<E: From<Wrong>>(
    memory: &impl Memory,
    request: &Load,
    mut take: impl FnMut(Hook) -> Result<(), E>,
) -> Result<(), E> {
    let size = check::hook_array(request)?;
    for index in 0..u64::from(request.hook_count) {
        let mut hook = Hook::zeroed();
        let from = request.hooks.wrapping_add(index * size as u64);
        read_extensible(memory, from, size, &mut hook)?;
        check::hook(&hook)?;
        take(hook)?;
    }
    Ok(())
}

/// Writes a table to a caller, who may have less room than it needs.
///
/// # Errors
///
/// [`Wrong::Fault`].
pub fn write_table<T: Plain>(
    memory: &impl Memory,
    to: u64,
    entry_size: usize,
    capacity: u32,
    entries: &[T],
) -> Result<(), Wrong> {
    for (index, entry) in entries.iter().take(capacity as usize).enumerate() {
        let to = to.wrapping_add((index * entry_size) as u64);
        write_extensible(memory, to, entry_size, entry)?;
    }
    Ok(())
}
