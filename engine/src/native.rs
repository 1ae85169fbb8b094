// SPDX-License-Identifier: GPL-2.0-only
//! Compiles an instance's filter, and describes the instances that the code runs on.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ptr::NonNull;

use nf_wasm_jit::machine::{FIRST_SLOT, TRAPPED};
use nf_wasm_jit::{Code, Environment, HostFunction, Machine, Results, Work};
use nf_wasm_shared::abi::guest::EXPORT_FILTER;
use nf_wasm_shared::abi::trap::Trap;
use wasmi::{InstanceLayout, Store};

use crate::host::Host;
use crate::state::State;
use crate::window::Buffer;

pub use nf_wasm_jit::machine::Run;
pub use nf_wasm_jit::Unsupported;

/// Maximum number of instructions: some megabytes of native code.
pub(crate) const MAX_INSTRUCTIONS: usize = 1 << 19;

/// The size of a [`Machine`], in words.
const MACHINE_WORDS: usize = size_of::<Machine>() / size_of::<u64>();

/// A filter as compiled code, and what the code needs of an instance besides the linear memory.
#[derive(Debug)]
pub struct Compiled {
    /// Code for packets on a copy.
    pub code: Code,
    /// Code for packets in place, if there can be any.
    pub in_place: Option<Code>,
    /// The values with which the globals begin.
    pub globals: Vec<u64>,
    /// Where a caller writes the context, followed by the window. `None` if the code reads none of
    /// these: context, window, the window's length. The length also goes to the slot
    /// [`nf_wasm_jit::machine::LEN_SLOT`].
    pub context: Option<u32>,
    /// Maximum bytes of the window.
    pub snaplen: u32,
    /// Bytes of the window that the code can read.
    pub window: u32,
}

impl Compiled {
    /// Compiles an instance that is set up: its memory and its table no longer change their sizes.
    pub(crate) fn new<H: Host>(
        wasm: &[u8],
        imports: &[HostFunction],
        store: &mut Store<State<H>>,
        instance: wasmi::Instance,
        memory_bytes: usize,
        buffer: Option<Buffer>,
        fuel: u32,
    ) -> Result<Self, Unsupported> {
        let layout = instance
            .layout(&mut *store)
            .ok_or(Unsupported::Operator("functions of other modules"))?;
        let parameters = match buffer {
            None => [Some(0); 3],
            Some(buffer) => [
                Some(buffer.context_address()),
                Some(buffer.window_address()),
                None,
            ],
        };
        let environment = Environment {
            memory_bytes: memory_bytes as u64,
            memory_grows: false,
            table: &layout.table,
            frame_slots: &layout.frame_slots,
            imports,
            fuel: Some(fuel),
            max_instructions: MAX_INSTRUCTIONS,
            parameters: &parameters,
            results: Results::Verdict,
        };
        let host = RefCell::new(&mut store.data_mut().host_state.host);
        let pause = || host.borrow_mut().pause();
        let work = || Work::new(wasm.len(), &pause);
        let code = nf_wasm_jit::compile_with(wasm, EXPORT_FILTER, &environment, &work())?;
        let buffer = buffer.filter(|buffer| reads_buffer(&code, *buffer));
        let in_place = match buffer {
            None => None,
            Some(buffer) => nf_wasm_jit::compile_in_place_with(
                wasm,
                EXPORT_FILTER,
                &environment,
                nf_wasm_jit::Buffer {
                    context: buffer.context_address(),
                    window: buffer.window_address(),
                    snaplen: buffer.snaplen(),
                },
                &work(),
            )?,
        };
        Ok(Self {
            in_place,
            globals: globals(&layout),
            context: buffer.map(Buffer::context_address),
            snaplen: buffer.map_or(0, Buffer::snaplen),
            window: buffer.map_or(0, |buffer| {
                let window = code
                    .reads_below
                    .saturating_sub(buffer.window_address().into());
                window.min(buffer.snaplen().into()) as u32
            }),
            code,
        })
    }

    /// Slots of 8 bytes that frames need, after the machine: both codes run on it.
    pub fn slots(&self) -> u32 {
        self.greater(|code| code.slots)
    }

    /// Bytes behind linear memory that the code may access while a check is mispredicted.
    pub fn guard(&self) -> u32 {
        self.greater(|code| code.guard)
    }

    fn greater(&self, of: impl Fn(&Code) -> u32) -> u32 {
        of(&self.code).max(self.in_place.as_ref().map_or(0, of))
    }
}

/// Whether `code` can read any of: the context, the window, the window's length.
fn reads_buffer(code: &Code, buffer: Buffer) -> bool {
    code.reads_parameters || code.reads_below > buffer.context_address().into()
}

/// The globals' current values.
pub(crate) fn globals(layout: &InstanceLayout) -> Vec<u64> {
    let value = |global: &NonNull<_>| {
        // SAFETY: It is the address of a value of 8 bytes, which nobody writes to meanwhile: the
        // layout was just made, and the instance is not running.
        unsafe { global.cast::<u64>().read() }
    };
    layout.globals.iter().map(value).collect()
}

/// Sets the globals of an interpreted instance to those of a machine.
pub(crate) fn set_globals(layout: &InstanceLayout, machine: &OwnedMachine) {
    for (global, value) in layout.globals.iter().zip(machine.globals().iter().rev()) {
        // SAFETY: As in `globals`: the store has not changed since the layout was made.
        unsafe { global.cast::<u64>().write(*value) };
    }
}

/// A machine, with the globals before it and the slots of frames behind it.
#[derive(Debug)]
pub struct OwnedMachine {
    words: Box<[u64]>,
    globals: usize,
}

impl OwnedMachine {
    /// A machine for `code`, which accesses `memory`.
    pub fn new(code: &Code, globals: &[u64], memory: *mut [u8]) -> Self {
        let mut words = vec![0; globals.len() + MACHINE_WORDS + code.slots as usize];
        for (to, global) in words.iter_mut().zip(globals.iter().rev()) {
            *to = *global;
        }
        let mut this = Self {
            words: words.into_boxed_slice(),
            globals: globals.len(),
        };
        let machine = Machine::new(memory.cast(), memory.len());
        // SAFETY: There are at least as many words as a machine takes, aligned like its own.
        unsafe { this.machine().write(machine) };
        this
    }

    /// The machine's address, which is the argument of its code.
    pub fn machine(&mut self) -> *mut Machine {
        self.words[self.globals..].as_mut_ptr().cast()
    }

    /// The slots of frames.
    pub fn slots(&mut self) -> &mut [u64] {
        &mut self.words[self.globals + MACHINE_WORDS..]
    }

    /// The globals, the first one last.
    pub fn globals(&self) -> &[u64] {
        &self.words[..self.globals]
    }
}

/// Decodes the result of native code: a number, or the trap.
pub(crate) fn result(code: u32) -> Result<i32, Trap> {
    match code.checked_sub(TRAPPED) {
        None => Ok(code as i32),
        Some(trap) => Err(Trap::from_number(trap).unwrap_or(Trap::Internal)),
    }
}

/// Calls a single compiled function, for tests of the engine, with the first `arguments` of
/// `values`. Writes `results` results to `values`. Returns the result, and the fuel that is left.
pub(crate) fn call_bare(
    machine: &mut OwnedMachine,
    native: &dyn NativeCode,
    values: &mut [u64],
    (arguments, results): (usize, usize),
    fuel: u64,
) -> (Result<(), Trap>, u64) {
    let first = FIRST_SLOT as usize;
    machine.slots()[first..first + arguments].copy_from_slice(&values[..arguments]);
    let at = machine.machine();
    // SAFETY: The caller made the machine for this code, and `&mut` excludes other users of it.
    let (code, left) = unsafe {
        (*at).fuel = fuel as i64;
        (native.run(at), (*at).fuel)
    };
    values[..results].copy_from_slice(&machine.slots()[first..first + results]);
    // The fuel is negative if it did not suffice for a block.
    (result(code).map(|_| ()), left.max(0) as u64)
}

/// Native code that a test made of compiled code.
pub trait NativeCode {
    /// Runs it.
    ///
    /// # Safety
    ///
    /// The code was compiled for `machine`.
    unsafe fn run(&self, machine: *mut Machine) -> u32;
}
