// SPDX-License-Identifier: GPL-2.0-only
//! Native code of filters, and running it on packets.

use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;
use core::ptr;

use crate::abi::ioctl::NO_TRAP;
use crate::abi::trap::Trap;
use crate::boundary::{self, CallOutcome, NativeCall};
use crate::kernel_ext::packet_call::{
    self, bpf_func, BpfFunc, PacketCall, BAILED_OUT, FIELDS_ALL, FIELDS_COMMON, FIELDS_NONE,
    NOT_IN_PLACE,
};
use crate::kernel_ext::skb::{HookState, SkBuff};
use crate::machine::TRAPPED;
use crate::packet::host_functions::Packet;

/// A filter's native code.
pub(crate) struct Native(pub(crate) NativeCall);

impl Native {
    /// The kernel's `bpf_prog`s of this filter.
    pub(crate) fn programs(&self) -> impl Iterator<Item = *mut c_void> {
        let programs = [self.0.program, self.0.in_place.program];
        programs.into_iter().filter(|program| !program.is_null())
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        for program in self.programs() {
            // SAFETY: It came from `nf_wasm_host_jit`, and we own it. It is not running: the code
            // that drops an instance has exclusive access to it.
            unsafe { boundary::nf_wasm_host_jit_free(program) };
        }
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

/// An instance's native code, with what it needs to decide packets. It belongs to one CPU, and is
/// used on that CPU's packet path.
///
/// `P` is the type that the instance belongs to.
pub(crate) struct Call<P> {
    call: UnsafeCell<PacketCall>,
    /// The code that can decide any packet. The same as `call.run`, without the `Option`.
    run: BpfFunc,
    /// Bail-outs since the last rate check, and the packet count at that check.
    bail_outs: Cell<u32>,
    packets_before: Cell<u64>,
    /// The program that the instance belongs to. It outlives this.
    pub(crate) program: *const P,
}

impl<P> Call<P> {
    /// `fuel` is for each packet, in units.
    pub(crate) fn new(native: &NativeCall, fuel: u64, program: *const P) -> Self {
        let in_place = &native.in_place;
        let run = bpf_func(native.run);
        Self {
            run,
            call: UnsafeCell::new(PacketCall {
                run: Some(run),
                machine: native.machine.cast(),
                fuel: fuel as i64,
                context: native.context.cast(),
                snaplen: native.snaplen,
                window: native.window,
                run_in_place: in_place.run.map(bpf_func),
                least: in_place.window.max(LEAST),
                fields: fields(in_place.context_words),
            }),
            bail_outs: Cell::new(0),
            packets_before: Cell::new(0),
            program,
        }
    }

    fn raw(&self) -> &PacketCall {
        // SAFETY: Only `note_copy` writes it. That runs on the same packet path, which has one user
        // at a time, between two runs of the code, when no such reference is in use.
        unsafe { &*self.call.get() }
    }

    /// Decides a packet, in place if there is code for that. Returns the code's return value: a
    /// verdict, or [`TRAPPED`] and up, which is a trap unless [`Self::wants_copy`] says otherwise.
    ///
    /// # Safety
    ///
    /// The caller owns the code, its machine and `packet`. If the code calls the host, the host was
    /// set.
    #[inline(always)]
    pub(crate) unsafe fn run(&self, packet: &Packet<'_>) -> u32 {
        let call = self.raw();
        let Packet { skb, state, len } = *packet;
        // SAFETY: By the contract the caller owns code, machine and packet. The code was made for
        // this machine, and is called by its own type, `bpf_func_t`.
        unsafe {
            if call.context.is_null() {
                (*call.machine).fuel = call.fuel;
                return (self.run)(call.machine.cast(), ptr::null());
            }
            match call.run_in_place {
                Some(_) => packet_call::run_in_place(call, skb, state, len),
                None => packet_call::run_on_copy(call, skb, state, len),
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

    /// Fuel that the last packet used, in units, unless it ran out of fuel.
    #[inline(always)]
    pub(crate) fn fuel_used(&self) -> u64 {
        // SAFETY: The machine is part of the instance, which outlives this, and no code runs on it
        // now.
        let left = unsafe { (*self.raw().machine).fuel };
        self.raw().fuel.wrapping_sub(left) as u64
    }

    /// The outcome for a packet for which the code returned `code`.
    pub(crate) fn outcome(&self, code: u32) -> CallOutcome {
        let trap = code.checked_sub(TRAPPED).unwrap_or(NO_TRAP);
        CallOutcome {
            verdict: code as i32,
            trap,
            // Code pays for a block when it enters it. Fuel that does not suffice for the next
            // block counts as used.
            fuel_used: if trap == Trap::OutOfFuel as u32 {
                self.raw().fuel as u64
            } else {
                self.fuel_used()
            },
        }
    }
}
