// SPDX-License-Identifier: GPL-2.0-only
//! The benchmarks' filters. `bin/` builds each as a Wasm module. On the host they are called as
//! Rust functions.
#![no_std]

pub mod blocklist;
pub mod dns_suffix;
pub mod histogram;
mod names;
pub mod prefixes;
pub mod sni;
mod table;
pub mod token_bucket;

use table::Table;

use core::cell::UnsafeCell;

/// A filter's state. Every CPU has its own instance, and an instance decides one packet at a time.
struct State<T>(UnsafeCell<T>);

// SAFETY: Wasm without the threads proposal has one thread, and so has the benchmark that calls
// filters as Rust functions.
unsafe impl<T> Sync for State<T> {}

impl<T> State<T> {
    /// State with the initial value `value`.
    const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Calls `f` with the state. `f` must not call `with` on the same state.
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: There is one thread, and `f` is not re-entered.
        f(unsafe { &mut *self.0.get() })
    }
}
