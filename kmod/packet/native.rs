// SPDX-License-Identifier: GPL-2.0-only
//! Runs native code on packets.

use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;
use core::ptr;

use crate::abi::ioctl::NO_TRAP;
use crate::abi::trap::Trap;
use crate::boundary::CallOutcome;
use crate::kernel_ext::packet_call::{
    self, bpf_func, BpfFunc, PacketCall, BAILED_OUT, FIELDS_ALL, FIELDS_COMMON, FIELDS_NONE,
    NOT_IN_PLACE,
};
use crate::kernel_ext::skb::{HookState, SkBuff};
use crate::machine::{HostState, Machine, TRAPPED};
use crate::objects::native_code::{NativeCode, NativeInstance};
use crate::packet::host_functions::{Host, Packet};

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

/// A packet that native code is deciding, for the attachment that it belongs to. No other packet
/// replaces it meanwhile: hooks are not called in hard interrupts.
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
        let filter = code.filter();
        let in_place = &filter.in_place;
        let run = bpf_func(filter.run);
        let context = match filter.reads_packet {
            true => instance.memory(filter.context as usize),
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
                machine: instance.machine().cast(),
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

    /// Whether there is code that decides packets in place.
    pub(crate) fn runs_in_place(&self) -> bool {
        self.raw().run_in_place.is_some()
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

    /// Decides a packet in place. Returns the code's return value: a verdict, or [`TRAPPED`] and up,
    /// which is a trap unless [`Self::wants_copy`] says otherwise.
    ///
    /// # Safety
    ///
    /// The caller owns the code, its machine and `packet`. [`Self::runs_in_place`] is true. If the
    /// code calls host functions, the host was set.
    #[inline(always)]
    pub(crate) unsafe fn run_in_place(&self, packet: &Packet<'_>) -> u32 {
        let Packet { skb, state, len } = *packet;
        // SAFETY: By the contract the caller owns code, machine and packet. The code was made for
        // this machine.
        unsafe { packet_call::run_in_place(self.raw(), skb, state, len) }
    }

    /// Decides a packet on a copy. Returns a verdict, or [`TRAPPED`] plus a trap.
    ///
    /// # Safety
    ///
    /// The caller owns the code, its machine and `packet`. [`Self::reads_packet`] is true. If the
    /// code calls host functions, the host was set.
    #[inline(always)]
    pub(crate) unsafe fn run_on_copy(&self, packet: &Packet<'_>) -> u32 {
        let Packet { skb, state, len } = *packet;
        // SAFETY: As in `run_in_place`.
        unsafe { packet_call::run_on_copy(self.raw(), skb, state, len) }
    }

    /// Decides a packet, in place if there is code for that. Returns what that code returned.
    ///
    /// # Safety
    ///
    /// The caller owns the code, its machine and `packet`. If the code calls host functions, the
    /// host was set.
    #[inline(always)]
    pub(crate) unsafe fn run(&self, packet: &Packet<'_>) -> u32 {
        // SAFETY: By the contract.
        unsafe {
            match (self.reads_packet(), self.runs_in_place()) {
                (false, _) => self.run_bare(packet.skb),
                (true, true) => self.run_in_place(packet),
                (true, false) => self.run_on_copy(packet),
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
            match self.run(packet) {
                code if self.wants_copy(code) => self.run_on_copy(packet),
                code => code,
            }
        }
    }

    /// Whether `code`, which [`Self::run`] returned, says that the packet must be decided on a
    /// copy.
    pub(crate) fn wants_copy(&self, code: u32) -> bool {
        self.runs_in_place() && matches!(code, NOT_IN_PLACE | BAILED_OUT)
    }

    /// Counts a bail-out, if that is why [`Self::run`] returned `code`. `packets` is the
    /// attachment's packet count. If more packets bail out than not, this stops running code in
    /// place, and returns true.
    pub(crate) fn note_copy(&self, code: u32, packets: u64) -> bool {
        if code != BAILED_OUT {
            return false;
        }
        self.bail_outs.set(self.bail_outs.get() + 1);
        if self.bail_outs.get() < BAIL_OUTS_PER_CHECK {
            return false;
        }
        // If the filter has several attachments, this may be another one's count. The error only
        // costs time.
        let before = self.packets_before.replace(packets);
        self.bail_outs.set(0);
        let is_frequent = packets.wrapping_sub(before) < u64::from(2 * BAIL_OUTS_PER_CHECK);
        if is_frequent {
            // SAFETY: This is between two runs of the code, on the one packet path that uses it, so
            // there is no reference.
            unsafe { (*self.call.get()).run_in_place = None };
        }
        is_frequent
    }

    /// The state of the hook of the packet that the code runs on, or ran on, in place.
    ///
    /// # Safety
    ///
    /// [`Self::run_in_place`] was called for that packet, and the hook function has not returned.
    pub(crate) unsafe fn state(&self) -> &HookState {
        let machine = self.raw().machine;
        // SAFETY: By the contract the machine has the state's address, which is still valid. The
        // machine belongs to the instance, which outlives this.
        unsafe { HookState::from_raw((*machine).state) }
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
