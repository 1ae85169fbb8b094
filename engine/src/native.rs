// SPDX-License-Identifier: GPL-2.0-only
//! Compiles an instance's filter, and keeps the machine that the code runs on.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ptr::{self, NonNull};

use nf_wasm_jit::machine::{FIRST_SLOT, TRAPPED};
use nf_wasm_jit::{Code, Environment, Machine, Reads, Results, Work};
use nf_wasm_shared::abi::guest::EXPORT_FILTER;
use nf_wasm_shared::abi::trap::Trap;
use wasmi::{InstanceLayout, Memory, Store};

use crate::capability::Native;
use crate::host::Host;
use crate::state::State;
use crate::window::Buffer;

pub use nf_wasm_jit::machine::Run;
pub use nf_wasm_jit::Unsupported;

/// Instructions of a program at most: some megabytes of native code.
pub(crate) const MAX_INSTRUCTIONS: usize = 1 << 19;

/// Slots of a machine.
const MACHINE_SLOTS: usize = size_of::<Machine>() / size_of::<u64>();

/// An instance's compiled code, and what it runs on.
pub(crate) struct NativeFilter<H> {
    /// The machine, and the slots of frames behind it.
    pub(crate) machine: Box<[u64]>,
    pub(crate) imports: Vec<Native<H>>,
    pub(crate) run: Option<Run>,
    pub(crate) shown: Shown,
    /// What the code that decides packets in place reads of them.
    pub(crate) in_place: Reads,
}

/// What a filter's code may look at of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Whether the context, or the window, or its length.
    pub(crate) anything: bool,
    /// Bytes of the window.
    pub(crate) window: u32,
}

impl<H: Host> NativeFilter<H> {
    /// Compiles an instance that is set up: its memory and its table do not change their sizes any
    /// more. `buffer` is the linear memory, and the buffer in it.
    pub(crate) fn compile(
        wasm: &[u8],
        imports: &[Native<H>],
        store: &mut Store<State<H>>,
        instance: wasmi::Instance,
        buffer: Option<(Memory, Buffer)>,
    ) -> Result<(Self, (Code, Option<Code>)), Unsupported> {
        let layout = instance
            .layout(&mut *store)
            .ok_or(Unsupported::Operator("functions of other modules"))?;
        let (globals, global_stride) = globals(&layout)?;
        let (memory, memory_bytes) = match buffer {
            None => (ptr::null_mut(), 0),
            Some((memory, _)) => {
                let data = memory.data_mut(&mut *store);
                (data.as_mut_ptr(), data.len())
            }
        };
        let buffer = buffer.map(|(_, buffer)| buffer);
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
            global_stride,
            max_instructions: MAX_INSTRUCTIONS,
            parameters: &parameters,
            results: Results::Verdict,
        };
        let host = RefCell::new(&mut store.data_mut().host);
        let pause = || host.borrow_mut().pause();
        let work = || Work::new(wasm.len(), &pause);
        let code = nf_wasm_jit::compile_with(wasm, EXPORT_FILTER, &environment, &work())?;
        let machine = machine(&code, (memory, memory_bytes), globals);
        let shown = Shown::of(&code, buffer);
        let in_place = match buffer.filter(|_| shown.anything) {
            None => None,
            Some(buffer) => {
                let buffer = nf_wasm_jit::Buffer {
                    context: buffer.context_address(),
                    window: buffer.window_address(),
                    snaplen: buffer.snaplen(),
                };
                let work = work();
                nf_wasm_jit::compile_in_place_with(
                    wasm,
                    EXPORT_FILTER,
                    &environment,
                    buffer,
                    &work,
                )?
            }
        };
        let native = Self {
            machine,
            imports: imports.to_vec(),
            run: None,
            shown,
            in_place: in_place.as_ref().map_or(Reads::default(), |it| it.in_place),
        };
        Ok((native, (code, in_place)))
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.run.is_some()
    }

    pub(crate) fn shown(&self) -> Shown {
        self.shown
    }
}

/// A machine for code, and the slots that this needs.
fn machine(code: &Code, (memory, memory_bytes): (*mut u8, usize), globals: *mut u8) -> Box<[u64]> {
    let mut slots = vec![0_u64; MACHINE_SLOTS + code.slots as usize].into_boxed_slice();
    let machine = Machine {
        fuel: 0,
        memory,
        memory_bytes,
        globals,
        trap: 0,
        owner: ptr::null_mut(),
        window: ptr::null(),
        minus_end: 0,
        state: ptr::null(),
        shown: 0,
    };
    // SAFETY: The slots begin with as many as a machine takes, and are aligned as its words are.
    unsafe { slots.as_mut_ptr().cast::<Machine>().write(machine) };
    slots
}

/// A function that was compiled by itself, for a test of the engine.
pub(crate) struct Bare {
    machine: Box<[u64]>,
}

impl Bare {
    /// What `code` runs on, of an instance that nothing else is done with as long as this is used.
    pub(crate) fn new(code: &Code, memory: (*mut u8, usize), globals: *mut u8) -> Self {
        Self {
            machine: machine(code, memory, globals),
        }
    }

    /// Calls the code with the first `arguments` of `values`, and leaves `results` there.
    pub(crate) fn call(
        &mut self,
        native: &dyn NativeCode,
        values: &mut [u64],
        (arguments, results): (usize, usize),
        fuel: u64,
    ) -> (Result<(), Trap>, u64) {
        let machine = self.machine.as_mut_ptr().cast::<Machine>();
        let first = MACHINE_SLOTS + FIRST_SLOT as usize;
        self.machine[first..first + arguments].copy_from_slice(&values[..arguments]);
        // SAFETY: The code was made for this machine, which `&mut self` says is used by nobody else, and the
        // instance that it works on is not used as long as this is.
        let (code, left) = unsafe {
            (*machine).fuel = fuel as i64;
            (native.run(machine), (*machine).fuel)
        };
        let result = match code.checked_sub(TRAPPED) {
            None => Ok(()),
            Some(trap) => Err(Trap::from_number(trap).unwrap_or(Trap::Internal)),
        };
        values[..results].copy_from_slice(&self.machine[first..first + results]);
        (result, left.max(0) as u64)
    }
}

/// Native code that was made of some.
pub trait NativeCode {
    /// Runs it.
    ///
    /// # Safety
    ///
    /// `machine` is one that the code was made for.
    unsafe fn run(&self, machine: *mut Machine) -> u32;
}

/// The first global's address, and how far it is to the next.
pub(crate) fn globals(layout: &InstanceLayout) -> Result<(*mut u8, u32), Unsupported> {
    let address = |global: &NonNull<_>| global.as_ptr() as usize;
    let stride = match layout.globals.as_slice() {
        [first, second, ..] => address(second).wrapping_sub(address(first)),
        _ => 0,
    };
    let Some(first) = layout.globals.first() else {
        return Ok((ptr::null_mut(), 0));
    };
    let is_at = |at: usize| address(first).wrapping_add(at * stride);
    let mut all = layout.globals.iter().enumerate();
    if !all.all(|(at, global)| address(global) == is_at(at)) {
        return Err(Unsupported::Operator("scattered globals"));
    }
    // At most 1,024 globals of a few bytes.
    Ok((first.as_ptr().cast(), stride as u32))
}

impl Shown {
    /// What the code may look at.
    fn of(code: &Code, buffer: Option<Buffer>) -> Self {
        let Some(buffer) = buffer else {
            return Self {
                anything: false,
                window: 0,
            };
        };
        let window = code
            .reads_below
            .saturating_sub(buffer.window_address().into());
        Self {
            anything: code.reads_parameters || code.reads_below > buffer.context_address().into(),
            window: window.min(buffer.snaplen().into()) as u32,
        }
    }
}
