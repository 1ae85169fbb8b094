// SPDX-License-Identifier: GPL-2.0-only
//! Native code of filters, and how a packet runs through it.

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
    /// What the kernel has compiled.
    pub(crate) fn programs(&self) -> impl Iterator<Item = *mut c_void> {
        let programs = [self.0.program, self.0.in_place.program];
        programs.into_iter().filter(|program| !program.is_null())
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        for program in self.programs() {
            // SAFETY: It came from `nf_wasm_host_jit`, and is nobody's but ours. It does not run any more: who
            // drops an instance has it to itself.
            unsafe { boundary::nf_wasm_host_jit_free(program) };
        }
    }
}

/// Bytes of a packet that have to be there in place in any case: a header.
const LEAST: u32 = 20;
/// Words of a context that are written once and for all: version and size.
const CONSTANT_WORDS: u32 = 0b11;
/// Those of [`FIELDS_COMMON`]: the packet's length, the transport header's offset and
/// protocol.
const COMMON_WORDS: u32 = 1 << 4 | 1 << 6 | 1 << 7;

/// Which of the `FIELDS_*` has these words of a context.
fn fields(words: u32) -> u32 {
    match words & !CONSTANT_WORDS {
        0 => FIELDS_NONE,
        words if words & !COMMON_WORDS == 0 => FIELDS_COMMON,
        _ => FIELDS_ALL,
    }
}

/// Bail-outs between rate checks.
const BAIL_OUTS_PER_CHECK: u32 = 64;

/// How an instance decides packets natively. It is its CPU's, and used with that CPU's packet path.
///
/// `P` is what the instance belongs to.
pub(crate) struct Call<P> {
    call: UnsafeCell<PacketCall>,
    /// The code that decides any packet: the same as in `call`, where it might be missing.
    run: BpfFunc,
    /// Bail-outs since the last rate check, and the packet count at that check.
    bail_outs: Cell<u32>,
    packets_before: Cell<u64>,
    /// Whose instance it is: it lives as long as that.
    pub(crate) program: *const P,
}

impl<P> Call<P> {
    /// With so much `fuel` for each packet.
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
        // SAFETY: It is written by `note_copy` alone. That is called on the same packet path as this, of
        // which there is one at a time, between two calls of the code: no such reference is in use then.
        unsafe { &*self.call.get() }
    }

    /// Has the code decide a packet, where it is if there is code for that. Returns what the code
    /// returned, a verdict or more than that; [`Self::wants_copy`] says what else that may mean.
    ///
    /// # Safety
    ///
    /// The code and what it works on are the caller's, and `packet` is. If the code calls the host,
    /// that was made ready.
    #[inline(always)]
    pub(crate) unsafe fn run(&self, packet: &Packet<'_>) -> u32 {
        let call = self.raw();
        let Packet { skb, state, len } = *packet;
        // SAFETY: By the contract code, machine and packet are the caller's. The code was made for this machine,
        // and called as what it is, a `bpf_func_t`.
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

    /// Whether what [`Self::run`] returned only says that the packet cannot be decided where it is.
    pub(crate) fn wants_copy(&self, code: u32) -> bool {
        self.raw().run_in_place.is_some() && matches!(code, NOT_IN_PLACE | BAILED_OUT)
    }

    /// [`Self::run`] returned `code`, and wants a copy; `packets` is how many there were where this one
    /// came by. If more packets bail out than not, this code is no longer tried.
    pub(crate) fn note_copy(&self, code: u32, packets: u64) {
        if code != BAILED_OUT {
            return;
        }
        self.bail_outs.set(self.bail_outs.get() + 1);
        if self.bail_outs.get() < BAIL_OUTS_PER_CHECK {
            return;
        }
        // Where the filter has several attachments, this may be another's number: all that is at stake
        // is time.
        if packets.wrapping_sub(self.packets_before.get()) < u64::from(2 * BAIL_OUTS_PER_CHECK) {
            // SAFETY: This is between two calls of the code, on the one packet path that uses it: nobody has a
            // reference.
            unsafe { (*self.call.get()).run_in_place = None };
        }
        self.bail_outs.set(0);
        self.packets_before.set(packets);
    }

    /// Has the code decide a copy of the packet that [`Self::run`] was given.
    ///
    /// # Safety
    ///
    /// The code and what it works on are the caller's, and `skb` is the packet that [`Self::run`] was given,
    /// at the same hook. If the code calls the host, that was made ready.
    pub(crate) unsafe fn run_on_copy(&self, skb: &SkBuff, len: u32) -> u32 {
        let call = self.raw();
        // SAFETY: By the contract code, machine and packet are the caller's. `run` told the machine of the
        // hook's state, which is still there, because the hook has not been left.
        unsafe {
            let state = HookState::from_raw((*call.machine).state);
            packet_call::run_on_copy(call, skb, state, len)
        }
    }

    /// Fuel that the last packet used, if it had enough.
    #[inline(always)]
    pub(crate) fn fuel_used(&self) -> u64 {
        // SAFETY: The machine is part of the instance, which outlives this; and no code runs on it now.
        let left = unsafe { (*self.raw().machine).fuel };
        self.raw().fuel.wrapping_sub(left) as u64
    }

    /// What became of a packet, by what the code returned for it.
    pub(crate) fn outcome(&self, code: u32) -> CallOutcome {
        let trap = code.checked_sub(TRAPPED).unwrap_or(NO_TRAP);
        CallOutcome {
            verdict: code as i32,
            trap,
            // A block is charged for when it is entered, and what does not suffice for it is as good
            // as used.
            fuel_used: if trap == Trap::OutOfFuel as u32 {
                self.raw().fuel as u64
            } else {
                self.fuel_used()
            },
        }
    }
}
