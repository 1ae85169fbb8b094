// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capability `nfw.clock`.

use crate::import::clock;

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline]
pub fn monotonic() -> u64 {
    // SAFETY: The host function has no requirements.
    unsafe { clock::monotonic() }
}

/// Nanoseconds since 1970-01-01 00:00 UTC.
#[inline]
pub fn realtime() -> u64 {
    // SAFETY: The host function has no requirements.
    unsafe { clock::realtime() }
}
