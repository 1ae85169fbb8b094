// SPDX-License-Identifier: GPL-2.0-only
//! Clocks that may be read in any context. Those of `kernel::time` may wait until a concurrent
//! update of the time ends.
//!
//! C header: `include/linux/timekeeping.h`

use kernel::bindings;

/// CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    // SAFETY: Reads the clock without a lock, in any context.
    unsafe { bindings::ktime_get_mono_fast_ns() }
}

/// CLOCK_REALTIME in nanoseconds.
pub(crate) fn realtime_ns() -> u64 {
    // SAFETY: Reads the clock without a lock, in any context.
    unsafe { bindings::ktime_get_real_fast_ns() }
}
