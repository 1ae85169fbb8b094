// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capability `nfw.packet`: the packet beyond the window.

use crate::import::packet;

/// The packet ends before the requested bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastEnd;

/// Bytes of the packet from its network header on.
#[inline]
pub fn len() -> u32 {
    // SAFETY: The host function has no requirements.
    unsafe { packet::len() }.unsigned_abs()
}

/// Fills `to` with the packet's bytes from `offset` on, or does not change it.
#[inline]
pub fn load(offset: u32, to: &mut [u8]) -> Result<(), PastEnd> {
    // SAFETY: `to` is valid for writes of its length.
    match unsafe { packet::load(offset, to.as_mut_ptr(), to.len() as u32) } {
        0 => Ok(()),
        _ => Err(PastEnd),
    }
}
