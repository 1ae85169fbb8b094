// SPDX-License-Identifier: GPL-2.0-only
//! `READ_ONCE()` and `WRITE_ONCE()`: numbers that one CPU writes while others read.
//!
//! The kernel crate's `Atomic` does the same, but calls a C function for each access, a dozen for a packet.

use core::cell::UnsafeCell;

/// A `T` that is read and written whole, in no order with anything else.
#[repr(transparent)]
pub(crate) struct Racy<T>(UnsafeCell<T>);

/// What one instruction reads or writes.
///
/// # Safety
///
/// The type is an integer, a boolean or a pointer of at most a machine word.
pub(crate) unsafe trait Word: Copy {}

// SAFETY: A boolean is a byte.
unsafe impl Word for bool {}
// SAFETY: An integer of 64 bits is a machine word: nf_wasm is for 64-bit machines only.
unsafe impl Word for u64 {}

// SAFETY: A `Word` is read and written by one instruction each, because accesses are volatile: no reader
// sees half of a write. What is shared is copied, never referred to.
unsafe impl<T: Word + Send> Sync for Racy<T> {}

impl<T: Word> Racy<T> {
    pub(crate) const fn new(value: T) -> Self {
        Racy(UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> T {
        // SAFETY: The cell is valid and aligned; a race is what READ_ONCE() is for.
        unsafe { self.0.get().read_volatile() }
    }

    /// The same for the only one who writes: an access like any other.
    ///
    /// # Safety
    ///
    /// Nobody else writes meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn own(&self) -> T {
        // SAFETY: The cell is valid and aligned. The caller says that nobody writes meanwhile, and
        // reading does not race with reading.
        unsafe { self.0.get().read() }
    }

    #[inline(always)]
    pub(crate) fn set(&self, value: T) {
        // SAFETY: The cell is valid and aligned; a race is what WRITE_ONCE() is for. What was there
        // has nothing to drop: a `Word` is `Copy`.
        unsafe { self.0.get().write_volatile(value) }
    }
}
