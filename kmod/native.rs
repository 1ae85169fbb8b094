// SPDX-License-Identifier: GPL-2.0-only
//! Filters as native code, and how that is called.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr;

use kernel::bindings as kernel_bindings;
use kernel::prelude::*;

use crate::abi::guest::Context;
use crate::abi::ioctl::NO_TRAP;
use crate::abi::trap::Trap;
use crate::bindings;
use crate::boundary::{self, CallOutcome, NativeCall};
use crate::machine::{Machine, LEN_SLOT, TRAPPED};
use crate::packet::Packet;
use crate::program::Program;

/// A filter's native code.
pub(crate) struct Native(pub(crate) NativeCall);

impl Native {
    /// What the kernel has compiled.
    pub(crate) fn programs(&self) -> impl Iterator<Item = *mut c_void> {
        let in_place = self.0.in_place.map(|it| it.program);
        [Some(self.0.program), in_place].into_iter().flatten()
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        for program in self.programs() {
            // SAFETY: It is nobody's but ours, and does not run any more.
            unsafe { boundary::nf_wasm_host_jit_free(program) };
        }
    }
}

/// How an instance decides packets natively.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) native: NativeCall,
    /// For each packet.
    pub(crate) fuel: u64,
    /// Whose instance it is: it lives as long as that.
    pub(crate) program: *const Program,
}

impl Call {
    /// Has the code decide a packet. Returns what the code returned: a verdict, or more than that.
    ///
    /// # Safety
    ///
    /// The code and what it works on are the caller's, and `packet` is. If the code calls the host,
    /// that was made ready.
    #[inline(always)]
    pub(crate) unsafe fn call(&self, packet: &Packet) -> u32 {
        let native = &self.native;
        // SAFETY: By the contract.
        unsafe {
            if !native.context.is_null() && !self.show(packet.skb, packet.state, packet.len) {
                return TRAPPED | Trap::Packet as u32;
            }
            (*native.machine).fuel = self.fuel as i64;
            (native.run)(native.machine)
        }
    }

    /// Puts a packet where the code looks for it. Returns whether that went well.
    ///
    /// # Safety
    ///
    /// As [`Self::call`].
    #[inline(always)]
    unsafe fn show(
        &self,
        skb: *const kernel_bindings::sk_buff,
        state: *const bindings::nf_hook_state,
        packet_len: u32,
    ) -> bool {
        let native = &self.native;
        let len = packet_len.min(native.snaplen);
        // SAFETY: By the contract, and there is room for so much.
        unsafe {
            Machine::slot(native.machine, LEN_SLOT).write(len.into());
            let window = len.min(native.window);
            let context = native.context.cast();
            if bindings::nf_wasm_show(context, skb, state, packet_len, len, window) != 0 {
                // What of it was written, nobody knows.
                self.show_no_less(window);
                return false;
            }
            let shown = &mut (*native.machine).shown;
            if *shown > window.into() {
                self.clear(window, *shown as u32);
            }
            *shown = window.into();
            true
        }
    }

    /// The next packet's window may have to be cleared up to `window`.
    #[cold]
    fn show_no_less(&self, window: u32) {
        // SAFETY: The machine is this CPU's, as its packet path is.
        let shown = unsafe { &mut (*self.native.machine).shown };
        *shown = (*shown).max(window.into());
    }

    /// Clears the window from one place to another: an earlier packet was longer.
    ///
    /// # Safety
    ///
    /// The window has so many bytes.
    #[inline(never)]
    unsafe fn clear(&self, from: u32, to: u32) {
        let window = self.native.context.wrapping_add(size_of::<Context>());
        // SAFETY: By the contract.
        unsafe { ptr::write_bytes(window.add(from as usize), 0, (to - from) as usize) };
    }

    /// Fuel that the last packet used, if it had enough.
    #[inline(always)]
    pub(crate) fn fuel_used(&self) -> u64 {
        // SAFETY: The machine is there as long as the instance is.
        let left = unsafe { (*self.native.machine).fuel };
        self.fuel.wrapping_sub(left as u64)
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
                self.fuel
            } else {
                self.fuel_used()
            },
        }
    }
}

/// What is usual with a filter that was compiled and calls no host function.
pub(crate) struct Usual {
    /// How it decides any packet.
    pub(crate) call: Call,
    /// How it decides one where it is, if there is code for that.
    in_place: bindings::nf_wasm_in_place,
}

/// See [`Usual::run`].
const NOT_IN_PLACE: u32 = bindings::NF_WASM_NOT_IN_PLACE;

// The code's trap says it, too.
const _: () = assert!(NOT_IN_PLACE == TRAPPED | Trap::MemoryOutOfBounds as u32);

/// Each language has the machine's layout.
const _: () = {
    use bindings::nf_wasm_machine as InC;
    assert!(offset_of!(Machine, fuel) == offset_of!(InC, fuel));
    assert!(offset_of!(Machine, window) == offset_of!(InC, window));
    assert!(offset_of!(Machine, room) == offset_of!(InC, room));
    assert!(size_of::<Machine>() == offset_of!(InC, slots));
    assert!(LEN_SLOT == bindings::NF_WASM_LEN_SLOT);
};

impl Usual {
    /// Bytes of a packet that have to be there in any case.
    const LEAST: u32 = 20;
    /// Words of a context that are written once and for all: version and size.
    const CONSTANT_WORDS: u32 = 0b11;
    /// Words of [`bindings::NF_WASM_FIELDS_USUAL`], by their numbers: the packet's length, the transport
    /// header's offset and protocol.
    const USUAL_WORDS: u32 = Self::CONSTANT_WORDS | 1 << 4 | 1 << 6 | 1 << 7;

    pub(crate) fn new(call: Call) -> Self {
        let native = &call.native;
        let in_place = native.in_place.as_ref();
        let words = in_place.map_or(0, |it| it.context_words);
        let fields = if words & !Self::USUAL_WORDS != 0 {
            bindings::NF_WASM_FIELDS_ALL
        } else if words & !Self::CONSTANT_WORDS != 0 {
            bindings::NF_WASM_FIELDS_USUAL
        } else {
            bindings::NF_WASM_FIELDS_NONE
        };
        Self {
            in_place: bindings::nf_wasm_in_place {
                // SAFETY: The machine is the same, whatever language its type is of.
                run: in_place.map(|it| unsafe { core::mem::transmute(it.run) }),
                machine: native.machine.cast(),
                fuel: call.fuel as i64,
                context: native.context.cast(),
                least: in_place.map_or(0, |it| it.window.max(Self::LEAST)),
                snaplen: native.snaplen,
                fields,
            },
            call,
        }
    }

    /// Has the code decide a packet, where it is if there is code for that. Returns what the code
    /// returned; [`Self::may_copy`] says what else that may mean.
    ///
    /// # Safety
    ///
    /// As [`Call::call`].
    #[inline(always)]
    pub(crate) unsafe fn run(&self, packet: &Packet) -> u32 {
        let Packet { skb, state, len } = *packet;
        // SAFETY: By the contract.
        unsafe {
            match self.in_place.run {
                Some(_) => bindings::nf_wasm_run_in_place(&self.in_place, skb, state, len),
                None => self.call.call(packet),
            }
        }
    }

    /// Whether what [`Self::run`] returned only says that the packet cannot be decided where it is.
    pub(crate) fn may_copy(&self, code: u32) -> bool {
        self.in_place.run.is_some() && code == NOT_IN_PLACE
    }
}
