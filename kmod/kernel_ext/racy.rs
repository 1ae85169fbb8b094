// SPDX-License-Identifier: GPL-2.0-only
//! `READ_ONCE()` and `WRITE_ONCE()`, for words that one CPU writes while others read.
//!
//! The kernel crate's `Atomic` does the same, but calls a C function for each access: about a dozen
//! calls for each packet.

use core::cell::UnsafeCell;

/// A `T` that is read and written without tearing, and without ordering.
#[repr(transparent)]
pub(crate) struct Racy<T>(UnsafeCell<T>);

/// A type that one instruction reads or writes.
///
/// # Safety
///
/// The type is an integer, a boolean, a pointer or an enum, of at most a machine word.
pub(crate) unsafe trait Word: Copy {}

// SAFETY: A boolean is a byte.
unsafe impl Word for bool {}
// SAFETY: An integer of 64 bits is a machine word: nf_wasm is for 64-bit machines only.
unsafe impl Word for u64 {}

// SAFETY: Accesses are volatile, so one instruction reads or writes a `Word`, and no reader sees
// half of a write. The value is copied, and no reference to it is given out.
unsafe impl<T: Word + Send> Sync for Racy<T> {}

impl<T: Word> Racy<T> {
    pub(crate) const fn new(value: T) -> Self {
        Racy(UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> T {
        // SAFETY: The cell is valid and aligned; races are permitted, as for READ_ONCE().
        unsafe { self.0.get().read_volatile() }
    }

    /// An ordinary read, for the only writer.
    ///
    /// # Safety
    ///
    /// No other code writes during the call.
    #[inline(always)]
    pub(crate) unsafe fn own(&self) -> T {
        // SAFETY: The cell is valid and aligned. By the contract no other code writes meanwhile,
        // and reads do not race with reads.
        unsafe { self.0.get().read() }
    }

    #[inline(always)]
    pub(crate) fn set(&self, value: T) {
        // SAFETY: The cell is valid and aligned; races are permitted, as for WRITE_ONCE(). The old
        // value needs no drop: a `Word` is `Copy`.
        unsafe { self.0.get().write_volatile(value) }
    }
}
