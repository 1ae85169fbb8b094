// SPDX-License-Identifier: GPL-2.0-only
//! Copies extensible structs from and to the caller, with the rules of `copy_struct_from_user()`.

use super::abi::ioctl::{Hook, Load, Log};
use super::check;
use super::plain::{Plain, Request};
use super::wrong::Wrong;

/// Maximum size of a caller's struct, in bytes: a page.
const MAX_BYTES: usize = 4096;

/// The caller's memory. It may change at any time.
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

/// A refusal of a command.
pub trait Refused: From<Wrong> {
    /// A text for the operator.
    fn text(&self) -> Option<&[u8]>;
}

/// Reads a `T` at `from`, calls `f` with it, and writes it back. Writes a refusal's text to the
/// caller's log buffer.
///
/// # Errors
///
/// A refusal by `f`, or the struct or the caller's memory is invalid.
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
    // Fail before `f` changes anything if the caller's memory is not writable.
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

/// Writes back a request, truncated to the caller's size.
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
    // The caller may have changed the field since it was read. Keep the value that was checked.
    to.as_bytes_mut()[..size.len()].copy_from_slice(&size);
    Ok(bytes)
}

/// Reads `size` bytes. Bytes beyond `T` must be zero. Bytes of `to` beyond `size` do not change.
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

/// Writes `entry`, truncated to the caller's `size`. If `size` is larger, zeroes the rest.
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

/// Writes `text` to the caller's buffer, truncated to the buffer's length.
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

/// Reads and checks the hooks of a load, and passes each to `take`.
///
/// # Errors
///
/// A hook is invalid, or `take` fails.
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

/// Writes a table to the caller's array, truncated to the array's capacity.
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
