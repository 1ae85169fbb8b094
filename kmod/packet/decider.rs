// SPDX-License-Identifier: GPL-2.0-only
//! The packet path of an attachment: decides a packet, counts it, traces it, and accepts or drops
//! it.

use core::ffi::{c_uint, c_void};
use core::ptr;

use kernel::sync::Arc;

use crate::abi::ioctl::{Hook, NO_TRAP};
use crate::abi::trap::Trap;
use crate::control::refusal::Answer;
use crate::kernel_ext::cpu::{Cpu, PerCpu};
use crate::kernel_ext::skb::{DropCause, HookState, SkBuff, NF_ACCEPT};
use crate::kernel_ext::trace;
use crate::machine::TRAPPED;
use crate::objects::counters::{CpuCounters, Totals};
use crate::objects::filter::Filter;
use crate::objects::program::{Call, Decision, Program};
use crate::objects::slot::{Path, Slot};
use crate::packet::host_functions::{Host, Packet};
use crate::packet::native::Current;

/// The data of a hook registration. CPUs share it. Only the counters change, and each CPU has its
/// own.
///
/// # Invariants
///
/// `filter` has a program.
pub(crate) struct Decider {
    /// The attachment's id; 0 until it has one.
    id: u32,
    family: u32,
    hook: u32,
    filter: Arc<Filter>,
    counters: PerCpu<CpuCounters>,
}

// SAFETY: A CPU's counters are written only by that CPU's packet path, which has one user at a
// time. Other threads read them as `Racy` permits. Everything else is constant.
unsafe impl Send for Decider {}
// SAFETY: As above for the counters; `Filter` may be shared.
unsafe impl Sync for Decider {}

impl Decider {
    /// The data of an attachment that has no id yet.
    ///
    /// # Safety
    ///
    /// A program of `filter` was published.
    pub(crate) unsafe fn new(filter: Arc<Filter>, hook: &Hook) -> Answer<Self> {
        let counters = PerCpu::new(CpuCounters::new)?;
        // INVARIANT: By the contract. A published program is replaced, never removed.
        Ok(Decider {
            id: 0,
            family: hook.family,
            hook: hook.hook,
            filter,
            counters,
        })
    }

    pub(crate) fn set_id(&mut self, id: u32) {
        self.id = id;
    }

    pub(crate) fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// The counters, summed over CPUs.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        self.counters.iter().for_each(|cpu| totals.add_cpu(cpu));
        totals
    }

    /// Decides one packet. The program that decides it also traces and counts it.
    ///
    /// # Safety
    ///
    /// As for a netfilter hook: the caller owns the packet until this returns a verdict, `state` is
    /// the hook's, and the caller is in an RCU read-side critical section.
    #[inline(always)]
    unsafe fn decide(&self, skb: &SkBuff, state: &HookState, len: usize, cpu: &Cpu) -> c_uint {
        // SAFETY: The caller is in an RCU read-side critical section, which outlasts this function.
        // By the invariant the filter has a program.
        let program = unsafe { self.filter.program_in_section() };
        let slot = program.slot(cpu);
        let packet = &Packet {
            skb,
            state,
            len: len as u32,
        };
        // Each test reads the path again. If another CPU quarantines the program meanwhile, all of
        // them may fail.
        // SAFETY: By the paths there is native code, which reads the packet as they say. By `cpu` no
        // other code uses it. We own the packet, and the CPU is left only after we have returned.
        unsafe {
            if slot.takes(Path::Bare) {
                let call = slot.call();
                let counters = self.begin(call, skb, len, cpu);
                return Self::end(call, call.run_bare(skb), counters);
            }
            if slot.takes(Path::InPlace) {
                let call = slot.call();
                let counters = self.begin(call, skb, len, cpu);
                return Self::end(call, call.run_in_place(packet), counters);
            }
            if slot.takes(Path::Host) {
                return self.decide_with_host(skb, state, len, cpu.offset(), slot);
            }
            if slot.takes(Path::Copy) {
                let call = slot.call();
                let counters = self.begin(call, skb, len, cpu);
                return Self::end(call, call.run_on_copy(packet), counters);
            }
            self.decide_slow_path(skb, state, len, cpu.offset())
        }
    }

    /// Counts the bytes of a packet that `call` decides next. Returns the CPU's counters.
    #[inline(always)]
    fn begin<'a>(&'a self, call: &Call, skb: &SkBuff, len: usize, cpu: &'a Cpu) -> &'a CpuCounters {
        let counters = self.counters.here(cpu);
        counters.count_bytes(len as u64);
        call.set_current(Current {
            attachment: ptr::from_ref(self).cast(),
            skb,
            len: len as u32,
        });
        counters
    }

    /// Counts a packet for which `call` returned `code`, and accepts or drops it.
    ///
    /// # Safety
    ///
    /// As [`Self::decide`]. [`Self::begin`] was called with `call`, which is this CPU's, and returned
    /// `counters`.
    #[inline(always)]
    unsafe fn end(call: &Call, code: u32, counters: &CpuCounters) -> c_uint {
        if code == NF_ACCEPT && !trace::is_verdict_wanted() {
            counters.count_accepted(call.fuel_used());
            return code;
        }
        // SAFETY: We still own the call and the packet, and we are still in the critical section
        // that keeps the call's program alive. The call has decided no other packet since.
        unsafe { Self::not_accepted(call, code) }
    }

    /// [`Self::decide`] for native code that calls host functions. Takes its arguments as
    /// [`nf_wasm_attachment_decide`] does, so that they stay in their registers.
    ///
    /// # Safety
    ///
    /// As [`Self::decide`]. The CPU with `offset` is entered, and `slot` is that CPU's, on
    /// [`Path::Host`].
    #[inline(never)]
    unsafe fn decide_with_host(
        &self,
        skb: &SkBuff,
        state: &HookState,
        len: usize,
        offset: usize,
        slot: &Slot<Program>,
    ) -> c_uint {
        let Some(_busy) = slot.enter() else {
            // SAFETY: By the contract.
            return unsafe { self.decide_slow_path(skb, state, len, offset) };
        };
        let packet = &Packet {
            skb,
            state,
            len: len as u32,
        };
        let mut host = Host::quiet(skb);
        // SAFETY: The caller has entered that CPU, and leaves it only after we have returned. By the
        // path there is native code, and by `busy` no call further up the stack uses it. The host
        // lives until we return. By the contract we own the packet.
        unsafe {
            let cpu = &Cpu::entered(offset);
            slot.set_host(&mut host, packet.len);
            let call = slot.call();
            let counters = self.begin(call, skb, len, cpu);
            Self::end(call, call.run(packet), counters)
        }
    }

    /// The rest of [`Self::decide`], if the packet is not accepted, or has to be traced. `code` is
    /// the return value of `call`.
    ///
    /// # Safety
    ///
    /// As [`Self::decide`], for the attachment and the packet in `call.current()`. `call` is this
    /// CPU's. The packet's bytes were counted.
    #[inline(never)]
    unsafe fn not_accepted(call: &Call, code: u32) -> c_uint {
        let Current {
            attachment,
            skb,
            len,
        } = call.current();
        // SAFETY: By the contract both are still valid: the hook function has not returned.
        let (this, skb) = unsafe { (&*attachment.cast::<Self>(), &*skb) };
        // SAFETY: The CPU is entered, and is left only after we have returned.
        let cpu = unsafe { Cpu::entered_here() };
        let counters = this.counters.here(&cpu);
        if code >= TRAPPED {
            // SAFETY: By the contract.
            return unsafe {
                match call.wants_copy(code) {
                    true => this.decide_copy(call, &cpu, skb, len, code),
                    false => this.trapped(call, &cpu, skb, len, code),
                }
            };
        }
        let decision = Decision::verdict(code, call.fuel_used());
        // SAFETY: By the contract.
        unsafe { this.carry_out(skb, len, counters, &decision) }
    }

    /// Decides a packet on a copy, because it could not be decided in place. `code` says why.
    ///
    /// # Safety
    ///
    /// As [`Self::decide`]. `call` has just returned `code` for this packet.
    #[inline(never)]
    unsafe fn decide_copy(
        &self,
        call: &Call,
        cpu: &Cpu,
        skb: &SkBuff,
        len: u32,
        code: u32,
    ) -> c_uint {
        let counters = self.counters.here(cpu);
        // SAFETY: The call is this CPU's. Its program is the one that `decide` looked up, and the
        // RCU critical section that we are in keeps it alive. The code has just run on this packet,
        // in place, so the machine has the state of the packet's hook.
        let code = unsafe {
            if call.note_copy(code, counters.packets()) {
                Program::stop_in_place(cpu, call);
            }
            let state = call.state();
            call.run_on_copy(&Packet { skb, state, len })
        };
        // SAFETY: By the contract all arguments are ours, and nothing before this gave them away.
        unsafe {
            if code >= TRAPPED {
                return self.trapped(call, cpu, skb, len, code);
            }
            let decision = Decision::verdict(code, call.fuel_used());
            self.carry_out(skb, len, counters, &decision)
        }
    }

    /// Decides a packet on which `call` trapped with `code`.
    ///
    /// # Safety
    ///
    /// As [`Self::decide_copy`].
    #[inline(never)]
    unsafe fn trapped(&self, call: &Call, cpu: &Cpu, skb: &SkBuff, len: u32, code: u32) -> c_uint {
        // SAFETY: The call is this CPU's. Its program is the one that `decide` looked up, and the
        // RCU critical section that we are in keeps it alive.
        let decision = unsafe { Program::note_fast_path_trap(cpu, call, code) };
        // SAFETY: We own the packet.
        unsafe { self.carry_out(skb, len, self.counters.here(cpu), &decision) }
    }

    /// The slow path of [`Self::decide`]. Takes its arguments as [`nf_wasm_attachment_decide`]
    /// does, so that they stay in their registers. So it looks up the program again.
    ///
    /// # Safety
    ///
    /// As [`Self::decide`]. The CPU with `offset` is entered.
    #[inline(never)]
    unsafe fn decide_slow_path(
        &self,
        skb: &SkBuff,
        state: &HookState,
        len: usize,
        offset: usize,
    ) -> c_uint {
        let len = len as u32;
        // SAFETY: As in `decide`.
        let program = unsafe { self.filter.program_in_section() };
        let packet = &Packet { skb, state, len };
        // SAFETY: The caller has entered that CPU, and leaves it only after we have returned.
        let cpu = &unsafe { Cpu::entered(offset) };
        // SAFETY: We own the packet, and `state` is that of its hook.
        let decision = unsafe { program.decide(cpu, packet, &self.filter.logger) };
        self.counters.here(cpu).count_bytes(len.into());
        // SAFETY: We still own the packet: guests cannot take it.
        unsafe { self.carry_out(skb, len, self.counters.here(cpu), &decision) }
    }

    /// Counts and traces a packet, whose bytes were counted, and accepts or drops it.
    ///
    /// # Safety
    ///
    /// The caller owns the packet. After this netfilter owns it, or it is freed, as the return
    /// value says.
    #[inline(always)]
    unsafe fn carry_out(
        &self,
        skb: &SkBuff,
        len: u32,
        counters: &CpuCounters,
        decision: &Decision,
    ) -> c_uint {
        counters.count(decision);
        if trace::is_verdict_wanted() {
            self.trace(skb, len, decision);
        }
        if decision.accept {
            return NF_ACCEPT;
        }
        const OUT_OF_FUEL: u32 = Trap::OutOfFuel as u32;
        let cause = match decision.trap {
            NO_TRAP if decision.quarantined => DropCause::Quarantine,
            NO_TRAP => DropCause::Verdict,
            OUT_OF_FUEL => DropCause::OutOfFuel,
            _ => DropCause::Trap,
        };
        // SAFETY: We own the packet, and it is not used after this: the return value tells
        // netfilter that it is gone.
        unsafe { skb.drop_for(cause) }
    }

    fn trace(&self, skb: &SkBuff, len: u32, decision: &Decision) {
        let verdict = trace::Verdict {
            filter: self.filter.id,
            attachment: self.id,
            hook: self.hook,
            family: self.family,
            packet_len: len,
            verdict: u32::from(decision.accept),
            trap: decision.trap,
            fuel: decision.fuel,
        };
        trace::verdict(skb, &verdict);
    }
}

/// The netfilter hook function; `hook.c` calls it with the CPU entered.
///
/// # Safety
///
/// `private` is the [`Decider`] of a live registration. The CPU with `offset` was entered, and is
/// left after this. `skb` and `state` are the arguments of netfilter's call, which fulfil their
/// types' invariants. For the rest see [`Decider::decide`].
#[no_mangle]
unsafe extern "C" fn nf_wasm_attachment_decide(
    private: *mut c_void,
    skb: &SkBuff,
    state: &HookState,
    packet_len: usize,
    offset: usize,
) -> c_uint {
    // SAFETY: A registration frees its data, and borrows it mutably, no earlier than a grace period
    // after netfilter stopped calling this. We are in a critical section that began before that.
    let decider = unsafe { &*private.cast::<Decider>() };
    // SAFETY: The CPU was entered, and is left after this. The packet and the hook's state are the
    // arguments of netfilter's call, which is in an RCU read-side critical section.
    unsafe { decider.decide(skb, state, packet_len, &Cpu::entered(offset)) }
}
