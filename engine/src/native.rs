// SPDX-License-Identifier: GPL-2.0-only
//! Compiles an instance's filter, and owns the `Machine`, the struct that the code runs on.

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

/// Maximum number of instructions: some megabytes of native code.
pub(crate) const MAX_INSTRUCTIONS: usize = 1 << 19;

/// The size of a [`Machine`], in slots of 8 bytes.
const MACHINE_SLOTS: usize = size_of::<Machine>() / size_of::<u64>();

/// The state that an instance's compiled code runs on.
pub(crate) struct NativeFilter<H> {
    /// The machine, followed by the slots of frames.
    pub(crate) machine: Box<[u64]>,
    pub(crate) imports: Vec<Native<H>>,
    pub(crate) run: Option<Run>,
    pub(crate) shown: Shown,
    /// The reads of the code for packets in place.
    pub(crate) in_place: Reads,
}

/// The parts of the buffer that the code can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Whether it can read any of: the context, the window, the window's length.
    pub(crate) anything: bool,
    /// Bytes of the window.
    pub(crate) window: u32,
}

impl<H: Host> NativeFilter<H> {
    /// Compiles an instance that is set up: its memory and its table no longer change their sizes.
    /// `buffer` is the linear memory, and the buffer in it.
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

/// Makes a machine for code, with the slots that its frames need.
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
    // SAFETY: There are at least as many slots as a machine takes, aligned like its words.
    unsafe { slots.as_mut_ptr().cast::<Machine>().write(machine) };
    slots
}

/// A single compiled function, for tests of the engine.
pub(crate) struct Bare {
    machine: Box<[u64]>,
}

impl Bare {
    /// The state for `code`. The instance must not be used otherwise as long as this is used.
    pub(crate) fn new(code: &Code, memory: (*mut u8, usize), globals: *mut u8) -> Self {
        Self {
            machine: machine(code, memory, globals),
        }
    }

    /// Calls the code with the first `arguments` of `values`. Writes `results` results to `values`.
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
        // SAFETY: The code was compiled for this machine. `&mut self` excludes other users of the
        // machine, and by the contract of `new` nobody uses the instance meanwhile.
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

/// Native code that a test made of compiled code.
pub trait NativeCode {
    /// Runs it.
    ///
    /// # Safety
    ///
    /// The code was compiled for `machine`.
    unsafe fn run(&self, machine: *mut Machine) -> u32;
}

/// The first global's address, and the bytes from one global to the next.
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
    /// Finds out the parts that `code` can read.
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
