// SPDX-License-Identifier: GPL-2.0-only
//! From the form in between to eBPF.
//!
//! | file | |
//! |---|---|
//! | `liveness.rs` | from where to where a variable keeps its value |
//! | `allocation.rs` | which variables live in registers |
//! | `lower.rs` | each operation, and its instructions |
//! | `arithmetic.rs`, `access.rs` | those on numbers, and on memory |
//! | `function.rs` | blocks, branches, calls |
//! | `program.rs` | all functions, how they return, and traps |
//! | `switch.rs` | jumps by a number |
//! | `assembler.rs`, `insn.rs` | labels and instructions |
//!
//! Registers:
//!
//! | | |
//! |---|---|
//! | R0, R1 | for a moment |
//! | R2 to R6 | variables; helpers change all but R6 |
//! | R7 | the linear memory |
//! | R8 | fuel |
//! | R9 | the function's frame: slots of 8 bytes in memory of the instance's, [`HEADER`] bytes on |
//! | R10 | two words of the kernel's stack, see [`STACK`]; of a lone function none |
//!
//! The first function's frame is behind the machine: R9 is the machine's address while it runs.
//!
//! Calls within the module are jumps: the kernel's stack does not grow with them. A function returns
//! by a number in its frame's first slot. The second says how much of the interpreter's stack would be
//! taken, as both tiers overflow alike: slots times 4,096, and frames.

mod access;
mod allocation;
mod arithmetic;
mod assembler;
mod function;
pub(crate) mod insn;
mod liveness;
mod lower;
mod program;
mod switch;

pub(crate) use program::compile;

/// Bytes between what R9 says and a frame's slots.
const HEADER: u32 = size_of::<crate::Machine>() as u32;
/// Bytes of the kernel's stack where there are several functions: the machine, the globals.
const STACK: u32 = 16;
/// Where they are from R10 on.
const MACHINE: i16 = -8;
const GLOBALS: i16 = -16;
