// SPDX-License-Identifier: GPL-2.0-only
//! What several of the benchmarks' filters need.
#![no_std]

pub mod names;
pub mod prefixes;
mod table;

pub use table::Table;

use core::cell::UnsafeCell;

/// A filter's state. Every CPU has an instance, and an instance has one packet at a time.
pub struct State<T>(UnsafeCell<T>);

// SAFETY: Wasm without the threads proposal has one thread.
unsafe impl<T> Sync for State<T> {}

impl<T> State<T> {
    /// State that begins as `value`.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Lets `f` use the state. `f` does not come here again.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: There is one thread, and `f` is not re-entered.
        f(unsafe { &mut *self.0.get() })
    }
}
