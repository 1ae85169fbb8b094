// SPDX-License-Identifier: GPL-2.0-only
//! The layout of frames, and of the words that compiled code keeps on the kernel's stack.
//!
//! A frame is an array of 8-byte slots in the instance's memory, after the
//! [`Machine`](crate::Machine), the struct that compiled code runs on. R9 points [`HEADER`] bytes
//! before its first slot:
//!
//! | slot | |
//! |---|---|
//! | [`RETURN_SLOT`] | the number of the return site |
//! | [`USED_SLOT`] | how much of its stack the interpreter would have used at this call |
//! | from [`FIRST_SLOT`] on | parameters; after the return, the results |
//! | the rest | variables without a register, and registers that are saved during a call |
//!
//! A callee's frame follows its caller's.

pub(super) use crate::machine::FIRST_SLOT;

/// Bytes between the address in R9 and the frame's slots. For the first function these are the
/// machine.
pub(super) const HEADER: u32 = size_of::<crate::Machine>() as u32;
/// The slot with the number of the return site.
pub(super) const RETURN_SLOT: u32 = 0;
/// The slot with the use of the interpreter's stack: slots times 2^[`USED_SHIFT`], plus frames. It
/// makes both tiers overflow at the same call.
pub(super) const USED_SLOT: u32 = 1;
pub(super) const USED_SHIFT: u32 = 12;
/// Maximum slots of a frame. The 16-bit offset of an instruction must also reach the first slots of
/// the callee's frame, which follows.
pub(super) const MAX_SLOTS: u32 = 4_000;

/// Bytes of the kernel's stack that code with several functions takes: the machine's address.
pub(super) const STACK: u32 = 8;
/// Its offset from R10.
pub(super) const MACHINE: i16 = -8;

/// The offset of a slot from R9. Larger frames than [`MAX_SLOTS`] are refused, so it fits.
pub(super) fn slot_offset(slot: u32) -> i16 {
    (HEADER + 8 * slot) as i16
}
