// SPDX-License-Identifier: GPL-2.0-only
//! Clocks that any context may read. Those of `kernel::time` wait for whoever changes the time.
//!
//! C header: `include/linux/timekeeping.h`

use kernel::bindings;

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn monotonic_ns() -> u64 {
    // SAFETY: Reads the clock without a lock, in any context.
    unsafe { bindings::ktime_get_mono_fast_ns() }
}

/// Nanoseconds of CLOCK_REALTIME.
pub(crate) fn realtime_ns() -> u64 {
    // SAFETY: Reads the clock without a lock, in any context.
    unsafe { bindings::ktime_get_real_fast_ns() }
}
