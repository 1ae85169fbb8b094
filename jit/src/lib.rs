// SPDX-License-Identifier: GPL-2.0-only
//! Compiles packet filters to eBPF instructions, which the kernel's own compiler turns into native
//! code.
//!
//! No verifier checks the instructions. They are safe because the Wasm module was validated, and because
//! this crate compiles checks of addresses, fuel and stack into them.
//!
//! The stages of a function: `module.rs` finds it, `front/` translates it to operations (`ir/`), `back/`
//! allocates registers and emits instructions.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod back;
mod calls;
mod front;
mod in_place;
mod ir;
mod module;
mod pointers;
#[cfg(test)]
mod testing;
pub mod work;

use alloc::vec::Vec;
use core::fmt;

pub use back::insn::Insn;
pub use back::Helper;
pub use nf_wasm_shared::machine::{self, Machine};
pub use work::Work;

/// What is known of an instance when its code is compiled, and does not change any more.
#[derive(Clone, Copy, Debug)]
pub struct Environment<'a> {
    /// Bytes of its linear memory.
    pub memory_bytes: u64,
    /// Whether that may grow while the code runs. Code of a filter's finds that it does not.
    pub memory_grows: bool,
    /// Its table: functions, by their indices in the module.
    pub table: &'a [Option<u32>],
    /// For each function how many slots the interpreter's frame has.
    pub frame_slots: &'a [u16],
    /// Bytes from a global to the next.
    pub global_stride: u32,
    /// Instructions of a program at most.
    pub max_instructions: usize,
    /// What parameters of the exported function always are.
    pub parameters: &'a [Option<u32>],
    /// What becomes of its results.
    pub results: Results,
}

/// What becomes of the exported function's results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Results {
    /// They stay in their slots, from [`machine::FIRST_SLOT`] on.
    Stay,
    /// There is one, a verdict, 0 or 1: it is returned, and others are a trap.
    Verdict,
}

impl Environment<'_> {
    fn frame_slots(&self, function: u32) -> u32 {
        self.frame_slots
            .get(function as usize)
            .copied()
            .map_or(0, u32::from)
    }
}

/// A program.
#[derive(Clone, Debug)]
pub struct Code {
    /// The instructions. Calls have the number of a [`Helper`].
    pub insns: Vec<Insn>,
    /// Which of them are calls.
    pub calls: Vec<u32>,
    /// Slots of 8 bytes that its frames need, behind the machine.
    pub slots: u32,
    /// Bytes of the kernel's stack that it takes, besides what the kernel's compiler saves.
    pub stack: u32,
    /// Whether it calls imported functions.
    pub calls_host: bool,
    /// It reads nothing in linear memory from this address on.
    pub reads_below: u64,
    /// Whether it reads a parameter that is not known.
    pub reads_parameters: bool,
    /// What it reads of a packet in place; of other code nothing.
    pub in_place: Reads,
    /// Whether some jumps have their distance in `imm` (`BPF_JMP32 | BPF_JA`).
    pub has_long_jumps: bool,
}

/// Where a packet is shown in linear memory: the context, and behind it the window.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// The context's address.
    pub context: u32,
    /// The window's.
    pub window: u32,
    /// Bytes of the window at most.
    pub snaplen: u32,
}

/// What code that was compiled by [`compile_in_place`] reads at places that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Words of the context, as a set of their numbers.
    pub context: u64,
    /// Bytes of the packet that have to be in place.
    pub window: u32,
}

/// Why a module cannot be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// It uses something that is left to the interpreter.
    Operator(&'static str),
    /// A function needs a larger frame than instructions can address.
    Frame,
    /// The code would be too large.
    Size,
    /// It would take too long: see [`work`].
    Work,
    /// The host did not want it any more.
    Aborted,
    /// It is not valid.
    Malformed,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsupported::Operator(what) => write!(f, "it uses {what}"),
            Unsupported::Frame => f.write_str("a function has too many variables"),
            Unsupported::Size => f.write_str("its code would be too large"),
            Unsupported::Work => f.write_str("compiling it would take too long"),
            Unsupported::Aborted => f.write_str("its compilation was aborted"),
            Unsupported::Malformed => f.write_str("it is not valid"),
        }
    }
}

/// Compiles the exported function, and all that it may call, for whoever can wait. `wasm` is valid.
///
/// # Errors
///
/// Why not.
pub fn compile(
    wasm: &[u8],
    export: &str,
    environment: &Environment<'_>,
) -> Result<Code, Unsupported> {
    compile_with(wasm, export, environment, &Work::new(wasm.len(), &|| true))
}

/// As [`compile`], with a count of the work, which asks the host every so often.
///
/// # Errors
///
/// Why not.
pub fn compile_with(
    wasm: &[u8],
    export: &str,
    environment: &Environment<'_>,
    work: &Work<'_>,
) -> Result<Code, Unsupported> {
    let module = module::Module::parse(wasm, work)?;
    back::compile(&module, export, environment, None, work)
}

/// Compiles the exported function, if it is a small one that only reads, so that what it reads of the
/// window it reads in the packet itself: `in_place.rs` says how. `wasm` is valid; `buffer` is within the
/// environment's memory, and nothing else is done with it.
///
/// The code needs of the context what [`Reads`] says, in the buffer, and the packet where the machine
/// says. The trap [`nf_wasm_shared::abi::trap::Trap::MemoryOutOfBounds`] is not the filter's then: the packet
/// has to be decided by what [`compile`] made.
pub fn compile_in_place(
    wasm: &[u8],
    export: &str,
    environment: &Environment<'_>,
    buffer: Buffer,
) -> Option<Code> {
    let work = Work::new(wasm.len(), &|| true);
    compile_in_place_with(wasm, export, environment, buffer, &work).ok()?
}

/// As [`compile_in_place`], with a count of the work.
///
/// # Errors
///
/// Only [`Unsupported::Aborted`]: what cannot be compiled so is not there.
pub fn compile_in_place_with(
    wasm: &[u8],
    export: &str,
    environment: &Environment<'_>,
    buffer: Buffer,
    work: &Work<'_>,
) -> Result<Option<Code>, Unsupported> {
    let compiled = module::Module::parse(wasm, work)
        .and_then(|module| in_place::compile(&module, export, environment, buffer, work));
    match compiled {
        Err(Unsupported::Aborted) => Err(Unsupported::Aborted),
        Ok(code) => Ok(code),
        Err(_) => Ok(None),
    }
}
