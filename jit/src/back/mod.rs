// SPDX-License-Identifier: GPL-2.0-only
//! The back end: from the IR to eBPF instructions.
//!
//! | file | |
//! |---|---|
//! | `compile.rs` | an exported function, and all functions that it may call |
//! | `liveness.rs` | the interval in which a variable is live |
//! | `liveness/uses.rs` | results that nobody reads, or only the same block |
//! | `allocation.rs` | registers and frame slots for variables |
//! | `function.rs` | blocks, branches, calls |
//! | `lower.rs` | instructions for each operation |
//! | `arithmetic.rs`, `access.rs` | instructions for arithmetic, and for memory |
//! | `frame.rs` | the layout of frames |
//! | `program.rs` | the code that functions share: calls, returns, traps |
//! | `helper.rs` | helpers that compiled code calls |
//! | `switch.rs` | indexed jumps, as compare trees |
//! | `assembler.rs`, `insn.rs` | labels and instructions |
//!
//! Registers:
//!
//! | | |
//! |---|---|
//! | R0, R1 | scratch |
//! | R2 to R6 | variables; helpers change all but R6 |
//! | R7 | address of the linear memory |
//! | R8 | remaining fuel |
//! | R9 | address of the frame's header (`frame.rs`): in the first function, the `Machine` |
//! | R10 | the kernel's stack, of which code with several functions takes two words |
//!
//! Calls within the module are jumps, so they take no kernel stack. Each return site has a number,
//! which the caller stores in the callee's frame.

mod access;
mod allocation;
mod arithmetic;
mod assembler;
mod compile;
mod frame;
mod function;
mod helper;
pub(crate) mod insn;
mod liveness;
mod lower;
mod program;
mod switch;

pub(crate) use compile::compile;
pub use helper::Helper;
