// SPDX-License-Identifier: GPL-2.0-only
//! Compiles packet filters to eBPF instructions. The kernel's eBPF compiler turns these into native
//! code.
//!
//! No verifier checks the instructions. They are safe because the Wasm module was validated, and
//! because the instructions check addresses, fuel and stack.
//!
//! The stages of a function: `module.rs` finds it, `reader.rs` reads its operators, `front/`
//! translates them to operations (`ir/`), `back/` allocates registers and emits instructions.
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
mod reader;
#[cfg(test)]
mod testing;
pub mod work;

use alloc::vec::Vec;
use core::fmt;

pub use back::insn::Insn;
pub use back::Helper;
pub use nf_wasm_shared::machine::{self, Machine};
pub use work::Work;

/// The facts about an instance that are constant from its compilation on.
#[derive(Clone, Copy, Debug)]
pub struct Environment<'a> {
    /// Bytes of its linear memory.
    pub memory_bytes: u64,
    /// Whether the memory may grow while the code runs. A filter's does not.
    pub memory_grows: bool,
    /// The table: functions' indices in the module, or null.
    pub table: &'a [Option<u32>],
    /// For each function, the number of slots of the interpreter's frame.
    pub frame_slots: &'a [u16],
    /// The functions that the module imports, by their indices.
    pub imports: &'a [HostFunction],
    /// Fuel of each call, if it is always the same. Otherwise the machine has it.
    pub fuel: Option<u32>,
    /// Maximum number of instructions.
    pub max_instructions: usize,
    /// The constant values of parameters of the exported function.
    pub parameters: &'a [Option<u32>],
    /// How it returns its results.
    pub results: Results,
}

/// A function that the module imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFunction {
    /// Its number, counted from [`Helper::COUNT`], in calls.
    pub number: u32,
    /// Fuel that the code charges before the call.
    pub fuel: u32,
    /// Whether the function itself charges fuel, accesses linear memory, and may trap.
    pub may_trap: bool,
}

/// How the exported function returns its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Results {
    /// In slots, from [`machine::FIRST_SLOT`] on.
    Stay,
    /// The only result is a verdict. The code returns 0 or 1, and traps on other numbers.
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

/// Compiled code.
#[derive(Clone, Debug)]
pub struct Code {
    /// The instructions. Each call holds the number of a [`Helper`] or of a [`HostFunction`].
    pub insns: Vec<Insn>,
    /// Indices of the calls.
    pub calls: Vec<u32>,
    /// Slots of 8 bytes that its frames need, after the machine.
    pub slots: u32,
    /// Bytes of the kernel's stack that it takes, without the registers that the kernel's compiler
    /// saves.
    pub stack: u32,
    /// Whether it calls host functions.
    pub calls_host: bool,
    /// All its reads from linear memory are below this address.
    pub reads_below: u64,
    /// Bytes behind linear memory that it may access while a check is mispredicted, and only then.
    /// They hold nothing that the guest may not know, or are not mapped.
    pub guard: u32,
    /// Whether it reads a parameter whose value is not known.
    pub reads_parameters: bool,
    /// Its reads of a packet in place. Empty for code that runs on a copy.
    pub in_place: Reads,
    /// Whether any jump has its distance in `imm` (`BPF_JMP32 | BPF_JA`).
    pub has_long_jumps: bool,
}

/// The location of the buffer in linear memory: the context, then the window.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// The context's address.
    pub context: u32,
    /// The window's address.
    pub window: u32,
    /// Maximum bytes of the window.
    pub snaplen: u32,
}

/// The reads at constant addresses of code from [`compile_in_place`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Words of the context: a set of word numbers.
    pub context: u64,
    /// Bytes of the packet that have to be linear.
    pub window: u32,
}

/// Why a module cannot be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// It uses something that only the interpreter supports.
    Operator(&'static str),
    /// A function's frame is larger than instructions can address.
    Frame,
    /// The code would be too large.
    Size,
    /// It would take too many steps: see [`work`].
    Work,
    /// The compilation was aborted.
    Aborted,
    /// The module is not valid.
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

/// Compiles the exported function and all functions that it may call, without yielding. `wasm` is
/// valid.
///
/// # Errors
///
/// The reason why it cannot be compiled.
pub fn compile(
    wasm: &[u8],
    export: &str,
    environment: &Environment<'_>,
) -> Result<Code, Unsupported> {
    compile_with(wasm, export, environment, &Work::new(wasm.len(), &|| true))
}

/// As [`compile`], but counts its steps in `work`, which yields at intervals.
///
/// # Errors
///
/// The reason why it cannot be compiled.
pub fn compile_with(
    wasm: &[u8],
    export: &str,
    environment: &Environment<'_>,
    work: &Work<'_>,
) -> Result<Code, Unsupported> {
    let module = module::Module::parse(wasm, work)?;
    back::compile(&module, export, environment, None, work)
}

/// Compiles the exported function for packets in place, if it is small and only reads. Its loads
/// from the window become loads from the packet itself: see `in_place.rs`. `wasm` is valid.
/// `buffer` is within the environment's memory, and has no other use.
///
/// The caller writes the words of the context in [`Reads`] to the buffer, and the packet's address
/// to the machine. If the code bails out, its result is the trap
/// [`nf_wasm_shared::abi::trap::Trap::MemoryOutOfBounds`]. The code from [`compile`] then has to
/// decide the packet.
pub fn compile_in_place(
    wasm: &[u8],
    export: &str,
    environment: &Environment<'_>,
    buffer: Buffer,
) -> Option<Code> {
    let work = Work::new(wasm.len(), &|| true);
    compile_in_place_with(wasm, export, environment, buffer, &work).ok()?
}

/// As [`compile_in_place`], but counts its steps in `work`. `None` if there can be no such code.
///
/// # Errors
///
/// Only [`Unsupported::Aborted`].
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
