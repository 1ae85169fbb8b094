// SPDX-License-Identifier: GPL-2.0-only
//! Filters as compiled code: what it runs on, and what it calls.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::slice;

use nf_wasm_jit::machine::{FIRST_SLOT, LEN_SLOT, TRAPPED};
use nf_wasm_jit::{Code, Environment, Helper, Machine, Reads, Results, Work};
use nf_wasm_shared::abi::guest::EXPORT_FILTER;
use nf_wasm_shared::abi::trap::Trap;
use wasmi::{InstanceLayout, Memory, Store, TrapCode};

use crate::capability::Native;
use crate::host::Host;
use crate::instance::{trap_number, Instance};
use crate::state::{bytes, fuel_to_move, Guest, State};
use crate::window::Buffer;

pub use nf_wasm_jit::machine::Run;
pub use nf_wasm_jit::Unsupported;

/// Instructions of a program at most: some megabytes of native code.
pub(crate) const MOST_INSTRUCTIONS: usize = 1 << 19;

/// Slots of a machine.
const MACHINE_SLOTS: usize = size_of::<Machine>() / size_of::<u64>();

/// An instance's compiled code, and what it runs on.
pub(crate) struct NativeFilter<H> {
    /// The machine, and the slots of frames behind it.
    machine: Box<[u64]>,
    imports: Vec<Native<H>>,
    run: Option<Run>,
    shown: Shown,
    /// What the code that decides packets in place reads of them.
    in_place: Reads,
}

/// What a filter's code may look at of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Whether the context, or the window, or its length.
    pub(crate) anything: bool,
    /// Bytes of the window.
    pub(crate) window: u32,
}

/// What it takes to call native code: the address of everything that a packet changes.
#[derive(Clone, Copy, Debug)]
pub struct Entry<H> {
    /// What the code is given. Its fuel is to be set.
    pub machine: *mut Machine,
    /// Bytes of the window at most.
    pub snaplen: u32,
    /// Where the context goes, and the window behind it; null if the filter looks at neither, nor at
    /// the window's length, which goes to the machine's slot [`nf_wasm_jit::machine::LEN_SLOT`].
    pub context: *mut u8,
    /// Bytes of the window that the filter may look at.
    pub window: u32,
    /// What the code for packets in place reads.
    pub in_place: Reads,
    /// The host; null if the filter does not call it.
    pub host: *mut H,
    /// Where it finds the packet's length; null if the filter does not call it.
    pub packet_len: *mut u32,
}

/// A guest that is compiled and calls a host function.
pub(crate) struct NativeGuest<'a, H> {
    fuel: &'a mut i64,
    memory: &'a mut [u8],
    state: &'a mut State<H>,
}

impl<H> Guest<H> for NativeGuest<'_, H> {
    fn charge(&mut self, fuel: u64) -> Result<(), TrapCode> {
        charge(self.fuel, fuel)
    }

    fn state(&mut self) -> &mut State<H> {
        self.state
    }

    fn bytes_and_state(
        &mut self,
        ptr: u32,
        len: u32,
    ) -> Result<(&mut [u8], &mut State<H>), TrapCode> {
        Ok((bytes(self.memory, ptr, len)?, self.state))
    }
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
            most_instructions: MOST_INSTRUCTIONS,
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

    unsafe extern "C" fn import(machine: *mut Machine, a: u64, b: u64, c: u64, index: u64) -> u64 {
        // SAFETY: Compiled code calls it, with its machine, whose owner `link` or `call_native` set to the
        // `Instance<H>` that it is part of. The code does not touch the machine before this returns, and the
        // instance is used by nobody else meanwhile: who called the code has only its address. The machine
        // is a box of its own, apart from the instance.
        let (machine, instance) = unsafe {
            let instance = (*machine).owner.cast::<Instance<H>>();
            (&mut *machine, &mut *instance)
        };
        let native = instance.native.as_ref();
        let import = native.and_then(|native| native.imports.get(index as usize).copied());
        carry_out(machine, |fuel, memory| {
            let import = import.ok_or(TrapCode::UnreachableCodeReached)?;
            let state = instance.store.data_mut();
            import(
                &mut NativeGuest {
                    fuel,
                    memory,
                    state,
                },
                [a, b, c],
            )
        })
    }
}

/// Does what a helper does that knows a machine, with fuel and linear memory; a trap leaves its number,
/// and the complement of the fuel.
fn carry_out(
    machine: &mut Machine,
    f: impl FnOnce(&mut i64, &mut [u8]) -> Result<u64, TrapCode>,
) -> u64 {
    let memory = match machine.memory.is_null() {
        true => &mut [][..],
        // SAFETY: Address and length are those of the linear memory, which does not grow once there is code.
        // It is the guest's alone, and neither the code nor the engine touches it until the helper is done.
        false => unsafe { slice::from_raw_parts_mut(machine.memory, machine.memory_bytes) },
    };
    match f(&mut machine.fuel, memory) {
        Ok(result) => result,
        Err(trap) => {
            machine.trap = (trap_number(trap) as u32).into();
            machine.fuel = !machine.fuel;
            0
        }
    }
}

/// Takes fuel off, if there is as much.
fn charge(left: &mut i64, fuel: u64) -> Result<(), TrapCode> {
    // Fuel is much less than 2^63.
    match left.checked_sub(fuel as i64) {
        Some(after @ 0..) => {
            *left = after;
            Ok(())
        }
        _ => Err(TrapCode::OutOfFuel),
    }
}

unsafe extern "C" fn memory_copy(
    machine: *mut Machine,
    to: u64,
    from: u64,
    len: u64,
    _: u64,
) -> u64 {
    // SAFETY: Compiled code calls it with its machine, and does not touch that before this returns; nor does
    // who called the code.
    carry_out(unsafe { &mut *machine }, |fuel, memory| {
        let (to, from, len) = (to as u32, from as u32, len as u32);
        bytes(memory, from, len)?;
        bytes(memory, to, len)?;
        charge(fuel, fuel_to_move(len))?;
        let from = from as usize;
        memory.copy_within(from..from + len as usize, to as usize);
        Ok(0)
    })
}

unsafe extern "C" fn memory_fill(
    machine: *mut Machine,
    to: u64,
    byte: u64,
    len: u64,
    _: u64,
) -> u64 {
    // SAFETY: Compiled code calls it with its machine, and does not touch that before this returns; nor does
    // who called the code.
    carry_out(unsafe { &mut *machine }, |fuel, memory| {
        let (to, len) = (to as u32, len as u32);
        bytes(memory, to, len)?;
        charge(fuel, fuel_to_move(len))?;
        bytes(memory, to, len)?.fill(byte as u8);
        Ok(0)
    })
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

impl<H: Host> Instance<H> {
    /// From here on the filter runs as native code, which is called as [`Self::call`] does it or by
    /// what is returned.
    ///
    /// # Safety
    ///
    /// `this` is valid, and does not move any more. `run` is what [`Self::compile`] gave, made native,
    /// and stays as long as the instance. What is returned is used as `this` is: by one at a time.
    pub unsafe fn link(this: *mut Self, run: Run) -> Option<Entry<H>> {
        // SAFETY: By the contract it is valid, and used by one at a time: by us, now.
        let instance = unsafe { &mut *this };
        let native = instance.native.as_mut()?;
        native.run = Some(run);
        let machine = native.machine.as_mut_ptr().cast::<Machine>();
        // SAFETY: The machine is a box that `native` owns, which is borrowed.
        unsafe { (*machine).owner = this.cast() };
        let (context, snaplen) = match instance.buffer {
            Some((memory, buffer)) => {
                let start = memory.data_mut(&mut instance.store).as_mut_ptr();
                let at = buffer.context_address() as usize;
                (start.wrapping_add(at), buffer.snaplen())
            }
            None => (ptr::null_mut(), 0),
        };
        let (shown, in_place) = (native.shown, native.in_place);
        let state = instance.store.data_mut();
        let (host, packet_len) = if native.imports.is_empty() {
            (ptr::null_mut(), ptr::null_mut())
        } else {
            (&raw mut state.host, &raw mut state.packet_len)
        };
        Some(Entry {
            machine,
            snaplen,
            context: if shown.anything {
                context
            } else {
                ptr::null_mut()
            },
            window: shown.window,
            in_place,
            host,
            packet_len,
        })
    }

    /// Calls the filter. Returns its verdict or a trap, and the fuel that is left.
    pub(crate) fn call_native(&mut self, len: u32, fuel: u64) -> (Result<i32, Trap>, u64) {
        let this: *mut Self = self;
        let Some((machine, run)) = self.native.as_mut().and_then(|native| {
            let machine = native.machine.as_mut_ptr().cast::<Machine>();
            Some((machine, native.run?))
        }) else {
            return (Err(Trap::Internal), fuel);
        };
        // SAFETY: By the contract of `link` the code was compiled for this machine, and is still there. It
        // touches what the machine says, the linear memory and globals, and by helpers `this`, of which
        // nothing else is in use meanwhile: `self` is not used between here and its return.
        let (code, left) = unsafe {
            (*machine).owner = this.cast();
            (*machine).fuel = fuel as i64;
            Machine::slot(machine, LEN_SLOT).write(len.into());
            (run(machine.cast(), ptr::null()), (*machine).fuel)
        };
        let result = match code.checked_sub(TRAPPED) {
            None => Ok(code as i32),
            Some(trap) => Err(Trap::from_number(trap).unwrap_or(Trap::Internal)),
        };
        // Less than nothing is left where it did not suffice for a block.
        (result, left.max(0) as u64)
    }
}

/// A helper's address, for instances with this host.
pub fn helper_address<H: Host>(helper: Helper) -> *const c_void {
    macro_rules! computing {
        ($($name:ident)*) => {
            match helper {
                Helper::Import => NativeFilter::<H>::import as *const c_void,
                Helper::MemoryCopy => memory_copy as *const c_void,
                Helper::MemoryFill => memory_fill as *const c_void,
                $(Helper::$name => {
                    extern "C" fn $name(a: u64, b: u64) -> u64 {
                        Helper::$name.compute(a, b)
                    }
                    $name as *const c_void
                })*
            }
        };
    }
    #[allow(non_snake_case, reason = "they are called as the helpers are")]
    {
        computing!(
            DivS32 DivS64 RemS32 RemS64 Clz32 Clz64 Ctz32 Ctz64 Popcnt32 Popcnt64
            RotL32 RotL64 RotR32 RotR64
        )
    }
}
