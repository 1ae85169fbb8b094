// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capability `nfw.mark`.

use crate::import::mark;

/// The packet's mark.
#[inline]
pub fn get() -> u32 {
    // SAFETY: The host function has no requirements.
    unsafe { mark::get() }
}

/// Sets the packet's mark.
#[inline]
pub fn set(mark: u32) {
    // SAFETY: The host function has no requirements.
    unsafe { mark::set(mark) };
}
