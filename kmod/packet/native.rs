// SPDX-License-Identifier: GPL-2.0-only
//! Native code of filters, its instances, and running it on packets.

use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;
use core::ptr;

use kernel::prelude::*;

use crate::abi::ioctl::NO_TRAP;
use crate::abi::trap::Trap;
use crate::boundary::{self, CallOutcome, NativeFilter};
use crate::kernel_ext::memory::{Block, Place, BLOCK_ALIGN};
use crate::kernel_ext::packet_call::{
    self, bpf_func, BpfFunc, PacketCall, BAILED_OUT, FIELDS_ALL, FIELDS_COMMON, FIELDS_NONE,
    NOT_IN_PLACE,
};
use crate::kernel_ext::skb::{HookState, SkBuff};
use crate::machine::{global_offset, HostState, Machine, TRAPPED};
use crate::packet::host_functions::{Host, Packet};

/// A filter's native code, and the snapshot that its instances begin as.
///
/// # Invariants
///
/// `filter` came from a build, and `programs` has its code. `snapshot` has the layout that `layout`
/// describes.
pub(crate) struct NativeCode {
    filter: NativeFilter,
    programs: Programs,
    layout: Layout,
    snapshot: Block,
}

// SAFETY: Nothing in it is tied to a thread. Native code may run anywhere.
unsafe impl Send for NativeCode {}
// SAFETY: It is constant.
unsafe impl Sync for NativeCode {}

/// The parts of an instance's block: globals, the first one last; machine; slots of frames; linear
/// memory. Their offsets are in bytes.
#[derive(Clone, Copy)]
struct Layout {
    machine: usize,
    memory: usize,
    bytes: usize,
}

impl Layout {
    fn of(filter: &NativeFilter) -> Self {
        let word = size_of::<u64>();
        // Machine and memory begin on cache lines. At most 1,024 globals, and some megabytes of
        // slots and memory.
        let machine = (filter.globals_len as usize * word).next_multiple_of(BLOCK_ALIGN);
        let slots = size_of::<Machine>() + filter.slots as usize * word;
        let memory = (machine + slots).next_multiple_of(BLOCK_ALIGN);
        Layout {
            machine,
            memory,
            bytes: (memory + filter.memory_bytes).next_multiple_of(BLOCK_ALIGN),
        }
    }
}

impl NativeCode {
    /// Takes over the `bpf_prog`s of `filter`, and copies what its instances begin as.
    ///
    /// # Safety
    ///
    /// `filter` came from a build, whose region still lives, and is used only here.
    pub(crate) unsafe fn new(filter: NativeFilter, place: Place) -> Result<Self> {
        // INVARIANT: By the contract.
        let programs = Programs([filter.program, filter.in_place.program]);
        let layout = Layout::of(&filter);
        let snapshot = Block::zeroed(layout.bytes, place)?;
        // SAFETY: By the contract globals and memory are valid for their lengths. The snapshot is new,
        // and has room for all of its parts.
        unsafe {
            let machine = snapshot.start().add(layout.machine);
            for global in 0..filter.globals_len {
                let to = machine.offset(global_offset(global) as isize).cast::<u64>();
                to.write(*filter.globals.add(global as usize));
            }
            let memory = snapshot.start().add(layout.memory);
            ptr::copy_nonoverlapping(filter.memory, memory, filter.memory_bytes);
        }
        // INVARIANT: By the contract, and the snapshot was just written.
        Ok(NativeCode {
            filter,
            programs,
            layout,
            snapshot,
        })
    }

    /// A new instance, which begins as the snapshot.
    pub(crate) fn instance(&self, place: Place) -> Result<NativeInstance> {
        let block = self.snapshot.copy(place)?;
        // SAFETY: The new block is ours, and has the snapshot's layout. A machine is plain data.
        let machine = unsafe {
            let machine = block.start().add(self.layout.machine).cast::<Machine>();
            machine.write(Machine {
                fuel: 0,
                memory: block.start().add(self.layout.memory),
                memory_bytes: self.filter.memory_bytes,
                trap: 0,
                host: ptr::null_mut(),
                window: ptr::null(),
                minus_end: 0,
                state: ptr::null(),
                shown: 0,
            });
            machine
        };
        // INVARIANT: The machine was just written.
        Ok(NativeInstance { machine, block })
    }

    /// Whether the code calls host functions.
    pub(crate) fn calls_host(&self) -> bool {
        self.filter.calls_host
    }

    /// Bytes of kernel memory for all instances together.
    pub(crate) fn bytes(&self) -> usize {
        let code = |program: *mut c_void| {
            // SAFETY: By the invariants of `programs`, which are freed with `self`.
            unsafe { packet_call::program_bytes(program) }
        };
        self.snapshot.bytes() + self.programs.iter().map(code).sum::<usize>()
    }
}

/// The kernel's `bpf_prog`s of a filter. A null pointer stands for none.
///
/// # Invariants
///
/// They came from `nf_wasm_host_jit`, and are ours.
struct Programs([*mut c_void; 2]);

impl Programs {
    fn iter(&self) -> impl Iterator<Item = *mut c_void> + '_ {
        self.0.iter().copied().filter(|program| !program.is_null())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for program in self.iter() {
            // SAFETY: By the invariants. It is not running: the code that drops this has exclusive
            // access to the filter's code.
            unsafe { boundary::nf_wasm_host_jit_free(program) };
        }
    }
}

/// One CPU's instance of native code.
///
/// # Invariants
///
/// `machine` is in `block`, between its globals and slots, and its memory is in `block`, too.
pub(crate) struct NativeInstance {
    machine: *mut Machine,
    block: Block,
}

// SAFETY: It owns its memory, and is not tied to a thread.
unsafe impl Send for NativeInstance {}

impl NativeInstance {
    /// Bytes of its memory.
    pub(crate) fn bytes(&self) -> usize {
        self.block.bytes()
    }
}

/// The fewest bytes of a packet that must be linear to decide it in place: an IPv4 header.
const LEAST: u32 = 20;
/// Bit set of the context's words that are the same for all packets: version and size.
const CONSTANT_WORDS: u32 = 0b11;
/// Bit set of the context's words that [`FIELDS_COMMON`] fills in: the packet's length, the
/// transport header's offset and protocol.
const COMMON_WORDS: u32 = 1 << 4 | 1 << 6 | 1 << 7;

/// The smallest of the `FIELDS_*` that has all of these words of a context.
fn fields(words: u32) -> u32 {
    match words & !CONSTANT_WORDS {
        0 => FIELDS_NONE,
        words if words & !COMMON_WORDS == 0 => FIELDS_COMMON,
        _ => FIELDS_ALL,
    }
}

/// Bail-outs between rate checks.
const BAIL_OUTS_PER_CHECK: u32 = 64;

/// A packet that native code is deciding, for the attachment that it belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Current {
    pub(crate) attachment: *const c_void,
    pub(crate) skb: *const SkBuff,
    pub(crate) len: u32,
}

/// Native code with one instance, and all that is needed to decide packets. It belongs to one CPU,
/// and is used on that CPU's packet path.
///
/// `P` is the type that the instance belongs to.
#[repr(C)]
pub(crate) struct Call<P> {
    call: UnsafeCell<PacketCall>,
    /// The code that can decide any packet. The same as `call.run`, without the `Option`.
    run: BpfFunc,
    /// Units for each packet.
    fuel: u64,
    /// The packet being decided, and the attachment. A caller that kept them in registers would
    /// have to save these for every packet.
    current: Cell<Current>,
    /// Bail-outs since the last rate check, and the packet count at that check.
    bail_outs: Cell<u32>,
    packets_before: Cell<u64>,
    /// The program that the instance belongs to. It outlives this.
    pub(crate) program: *const P,
}

impl<P> Call<P> {
    /// `fuel` is for each packet, in units. Code and instance belong together, and outlive this.
    pub(crate) fn new(
        code: &NativeCode,
        instance: &NativeInstance,
        fuel: u64,
        program: *const P,
    ) -> Self {
        let filter = &code.filter;
        let in_place = &filter.in_place;
        let run = bpf_func(filter.run);
        let context = match filter.reads_packet {
            // SAFETY: By the invariants the memory is valid, and the context is in it.
            true => unsafe { (*instance.machine).memory.add(filter.context as usize) },
            false => ptr::null_mut(),
        };
        Self {
            run,
            fuel,
            current: Cell::new(Current {
                attachment: ptr::null(),
                skb: ptr::null(),
                len: 0,
            }),
            call: UnsafeCell::new(PacketCall {
                run: Some(run),
                machine: instance.machine.cast(),
                context: context.cast(),
                snaplen: filter.snaplen,
                window: filter.window,
                run_in_place: in_place.run.map(bpf_func),
                least: in_place.window.max(LEAST),
                fields: fields(in_place.context_words),
            }),
            bail_outs: Cell::new(0),
            packets_before: Cell::new(0),
            program,
        }
    }

    /// Sets what the code's host functions work on.
    ///
    /// # Safety
    ///
    /// The code is not running. `state` is valid for as long as the code runs after this, and only
    /// its host functions use it then.
    pub(crate) unsafe fn set_host(&self, state: *mut HostState<*mut c_void>) {
        let machine = self.raw().machine.cast::<Machine>();
        // SAFETY: The machine belongs to the instance, which outlives this. By the contract the
        // code is not running.
        unsafe { (*machine).host = state.cast() };
    }

    fn raw(&self) -> &PacketCall {
        // SAFETY: Only `note_copy` writes it. That runs on the same packet path, which has one user
        // at a time, between two runs of the code, when no such reference is in use.
        unsafe { &*self.call.get() }
    }

    /// Stores the packet that is decided next.
    #[inline(always)]
    pub(crate) fn set_current(&self, current: Current) {
        self.current.set(current);
    }

    /// What was stored last.
    pub(crate) fn current(&self) -> Current {
        self.current.get()
    }

    /// Whether the code reads any of: context, window, the window's length.
    pub(crate) fn reads_packet(&self) -> bool {
        !self.raw().context.is_null()
    }

    /// Runs code that reads none of these. Returns its return value: a verdict, or [`TRAPPED`] plus
    /// a trap.
    ///
    /// # Safety
    ///
    /// The caller owns the code and its machine. [`Self::reads_packet`] is false. If the code calls
    /// host functions, the host was set.
    #[inline(always)]
    pub(crate) unsafe fn run_bare(&self, skb: &SkBuff) -> u32 {
        // The code ignores its second argument. The packet's address is in that register already.
        let ignored = ptr::from_ref(skb).cast();
        // SAFETY: By the contract the caller owns code and machine. The code was made for this
        // machine, and is called by its own type, `bpf_func_t`.
        unsafe { (self.run)(self.raw().machine.cast(), ignored) }
    }

    /// Decides a packet, in place if there is code for that. Returns the code's return value: a
    /// verdict, or [`TRAPPED`] and up, which is a trap unless [`Self::wants_copy`] says otherwise.
    ///
    /// # Safety
    ///
    /// The caller owns the code, its machine and `packet`. [`Self::reads_packet`] is true. If the
    /// code calls host functions, the host was set.
    #[inline(always)]
    pub(crate) unsafe fn run(&self, packet: &Packet<'_>) -> u32 {
        let call = self.raw();
        let Packet { skb, state, len } = *packet;
        // SAFETY: By the contract the caller owns code, machine and packet. The code was made for
        // this machine.
        unsafe {
            match call.run_in_place {
                Some(_) => packet_call::run_in_place(call, skb, state, len),
                None => packet_call::run_on_copy(call, skb, state, len),
            }
        }
    }

    /// Decides a packet, on a copy if that is needed. Returns a verdict, or [`TRAPPED`] plus a trap.
    ///
    /// # Safety
    ///
    /// The caller owns the code, its machine and `packet`. If the code calls host functions, the
    /// host was set.
    pub(crate) unsafe fn run_any(&self, packet: &Packet<'_>) -> u32 {
        // SAFETY: By the contract.
        unsafe {
            if !self.reads_packet() {
                return self.run_bare(packet.skb);
            }
            match self.run(packet) {
                code if self.wants_copy(code) => self.run_on_copy(packet.skb, packet.len),
                code => code,
            }
        }
    }

    /// Whether `code`, which [`Self::run`] returned, says that the packet must be decided on a
    /// copy.
    pub(crate) fn wants_copy(&self, code: u32) -> bool {
        self.raw().run_in_place.is_some() && matches!(code, NOT_IN_PLACE | BAILED_OUT)
    }

    /// Counts a bail-out, if that is why [`Self::run`] returned `code`. `packets` is the
    /// attachment's packet count. If more packets bail out than not, this stops running code in
    /// place.
    pub(crate) fn note_copy(&self, code: u32, packets: u64) {
        if code != BAILED_OUT {
            return;
        }
        self.bail_outs.set(self.bail_outs.get() + 1);
        if self.bail_outs.get() < BAIL_OUTS_PER_CHECK {
            return;
        }
        // If the filter has several attachments, this may be another one's count. The error only
        // costs time.
        if packets.wrapping_sub(self.packets_before.get()) < u64::from(2 * BAIL_OUTS_PER_CHECK) {
            // SAFETY: This is between two runs of the code, on the one packet path that uses it, so
            // there is no reference.
            unsafe { (*self.call.get()).run_in_place = None };
        }
        self.bail_outs.set(0);
        self.packets_before.set(packets);
    }

    /// Decides a packet on a copy, after [`Self::run`] could not decide it in place.
    ///
    /// # Safety
    ///
    /// The caller owns the code and its machine. `skb` is the packet that [`Self::run`] was called
    /// with, at the same hook. If the code calls the host, the host was set.
    pub(crate) unsafe fn run_on_copy(&self, skb: &SkBuff, len: u32) -> u32 {
        let call = self.raw();
        // SAFETY: By the contract the caller owns code, machine and packet. `run` stored the hook's
        // state in the machine, and the state is still valid, because the hook function has not
        // returned.
        unsafe {
            let state = HookState::from_raw((*call.machine).state);
            packet_call::run_on_copy(call, skb, state, len)
        }
    }

    /// Decides one packet outside of packet paths, in place or on a copy.
    ///
    /// # Safety
    ///
    /// The caller owns code, instance and packet.
    pub(crate) unsafe fn run_once(&self, packet: &Packet<'_>, host: &mut Host<'_>) -> CallOutcome {
        let mut state = HostState {
            host: host.as_raw(),
            packet_len: packet.len,
        };
        // SAFETY: By the contract. The state lives until the code has returned.
        let code = unsafe {
            self.set_host(&mut state);
            self.run_any(packet)
        };
        self.outcome(code)
    }

    /// Fuel that the last packet used, in units, unless it ran out of fuel or could not be read.
    #[inline(always)]
    pub(crate) fn fuel_used(&self) -> u64 {
        // SAFETY: The machine is part of the instance, which outlives this, and no code runs on it
        // now.
        let left = unsafe { (*self.raw().machine).fuel };
        self.fuel.wrapping_sub(left as u64)
    }

    /// The outcome for a packet for which the code returned `code`.
    pub(crate) fn outcome(&self, code: u32) -> CallOutcome {
        let trap = code.checked_sub(TRAPPED).unwrap_or(NO_TRAP);
        CallOutcome {
            verdict: match trap {
                NO_TRAP => code as i32,
                _ => 0,
            },
            trap,
            fuel_used: match Trap::from_number(trap) {
                // Code pays for a block when it enters it. Fuel that does not suffice for the next
                // block counts as used.
                Some(Trap::OutOfFuel) => self.fuel,
                // The code did not run.
                Some(Trap::Packet) => 0,
                _ => self.fuel_used(),
            },
        }
    }
}
