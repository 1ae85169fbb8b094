// SPDX-License-Identifier: GPL-2.0-only
//! The packet path of an attachment: decides a packet, counts it, traces it, and accepts or drops it.

use core::ffi::{c_uint, c_void};

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
use crate::packet::host_functions::Packet;

/// What netfilter's hook is registered with. CPUs share it; only the counters change, of which each
/// CPU has its own.
///
/// # Invariants
///
/// `filter` has a program.
pub(crate) struct Decider {
    /// The attachment's, once it has one.
    id: u32,
    family: u32,
    hook: u32,
    filter: Arc<Filter>,
    counters: PerCpu<CpuCounters>,
}

// SAFETY: A CPU's counters are written by that CPU's packet path alone, which has one user at a
// time, and read by others as one reads racing words. Everything else stays as it is.
unsafe impl Send for Decider {}
// SAFETY: Shared access to the counters is what the line above describes; `Filter` may be shared.
unsafe impl Sync for Decider {}

impl Decider {
    /// For an attachment that has no id yet.
    ///
    /// # Safety
    ///
    /// A program of `filter` was published.
    pub(crate) unsafe fn new(filter: Arc<Filter>, hook: &Hook) -> Answer<Self> {
        let counters = PerCpu::new(CpuCounters::new)?;
        // INVARIANT: By the caller's promise. What was published is replaced, not taken away.
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

    /// What has been counted here.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        self.counters.iter().for_each(|cpu| totals.add_cpu(cpu));
        totals
    }

    /// Decides one packet. The filter's program is looked up once, and answers for all that
    /// follows.
    ///
    /// # Safety
    ///
    /// As a netfilter hook is called: the packet is the caller's until a verdict is returned,
    /// `packet.state` is the hook's, and the caller is in an RCU read-side critical section.
    #[inline(always)]
    unsafe fn decide(&self, packet: Packet<'_>, cpu: &Cpu) -> c_uint {
        let Packet { skb, state, len } = packet;
        // SAFETY: The caller is in an RCU read-side critical section, which ends after this
        // function does; by the invariant the filter has a program.
        let program = unsafe { self.filter.program_in_section() };
        let Some(call) = program.fast_path(cpu) else {
            // SAFETY: The packet is ours, as the caller promised. `cpu` is entered, or there were
            // no `Cpu`, and stays so until the caller leaves it.
            return unsafe { self.decide_slow_path(program, skb, state, len, cpu.number()) };
        };
        let counters = self.counters.here(cpu);
        // SAFETY: The call is that of this CPU's slot, and `cpu` says that we are alone with it. It
        // calls no host function, or `fast_path` would have refused. The packet is ours.
        let code = unsafe { call.run(&packet) };
        if code >= TRAPPED {
            // SAFETY: The call, the counters and the packet are still ours, and so is the section
            // that the call's program lives in.
            return unsafe {
                match call.wants_copy(code) {
                    true => self.decide_copy(call, counters, skb, len, code),
                    false => self.trapped(call, counters, skb, len, code),
                }
            };
        }
        let fuel = call.fuel_used();
        counters.count_verdict(len, code, fuel);
        if trace::is_verdict_wanted() {
            self.trace_verdict(skb, len, code, fuel);
        }
        if code != 0 {
            return code;
        }
        // SAFETY: The packet is ours, and nobody touches it after this: what is returned tells
        // netfilter that it is gone.
        unsafe { skb.drop_for(DropCause::Verdict) }
    }

    /// Decides a packet that could not be decided where it is, as `code` says.
    ///
    /// # Safety
    ///
    /// As [`Self::decide`]; `call` is what [`Program::fast_path`] gave there, and has just returned
    /// `code` for this packet; `counters` are this CPU's.
    #[inline(never)]
    unsafe fn decide_copy(
        &self,
        call: &Call,
        counters: &CpuCounters,
        skb: &SkBuff,
        len: u32,
        code: u32,
    ) -> c_uint {
        call.note_copy(code, counters.packets());
        // SAFETY: The call is this CPU's, which is entered. The packet is the one that it has just
        // run on, so the machine still has its hook's state.
        let code = unsafe { call.run_on_copy(skb, len) };
        // SAFETY: All arguments are ours as they came.
        unsafe {
            if code >= TRAPPED {
                return self.trapped(call, counters, skb, len, code);
            }
            let decision = Decision::verdict(code, call.fuel_used());
            self.carry_out(skb, len, counters, &decision)
        }
    }

    /// Decides a packet that `call` trapped on, with `code`.
    ///
    /// # Safety
    ///
    /// As [`Self::decide_copy`].
    #[inline(never)]
    unsafe fn trapped(
        &self,
        call: &Call,
        counters: &CpuCounters,
        skb: &SkBuff,
        len: u32,
        code: u32,
    ) -> c_uint {
        // SAFETY: The CPU is entered, and left only after we have returned.
        let cpu = unsafe { Cpu::entered_here() };
        // SAFETY: The call is this CPU's. Its program is the one that `decide` looked up, which
        // lives as long as the critical section that we are in.
        let decision = unsafe { Program::note_fast_path_trap(&cpu, call, code) };
        // SAFETY: The packet is ours.
        unsafe { self.carry_out(skb, len, counters, &decision) }
    }

    /// The slow path of [`Self::decide`]. Its
    /// arguments are those of [`nf_wasm_attachment_decide`], so that they need not be kept
    /// elsewhere.
    ///
    /// # Safety
    ///
    /// As [`Self::decide`]; `cpu` is entered.
    #[inline(never)]
    unsafe fn decide_slow_path(
        &self,
        program: &Program,
        skb: &SkBuff,
        state: &HookState,
        len: u32,
        cpu: usize,
    ) -> c_uint {
        let packet = &Packet { skb, state, len };
        // SAFETY: The caller has entered that CPU, and leaves it only after we have returned.
        let cpu = &unsafe { Cpu::entered(cpu) };
        // SAFETY: The packet is ours, and `state` its hook's.
        let decision = unsafe { program.decide(cpu, packet, &self.filter.logger) };
        // SAFETY: The packet is still ours: guests cannot take it.
        unsafe { self.carry_out(skb, len, self.counters.here(cpu), &decision) }
    }

    /// Counts a packet, and has it go on or drops it.
    ///
    /// # Safety
    ///
    /// The packet is the caller's, and after this netfilter's or gone, as the result says.
    #[inline(always)]
    unsafe fn carry_out(
        &self,
        skb: &SkBuff,
        len: u32,
        counters: &CpuCounters,
        decision: &Decision,
    ) -> c_uint {
        counters.count(len, decision);
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
        // SAFETY: The packet is ours, and nobody touches it after this: what is returned tells netfilter
        // that it is gone.
        unsafe { skb.drop_for(cause) }
    }

    /// [`Self::trace`] for a packet of which all is in registers.
    #[cold]
    #[inline(never)]
    fn trace_verdict(
        &self,
        skb: &SkBuff,
        len: u32,
        verdict: u32,
        fuel: u64,
    ) {
        self.trace(skb, len, &Decision::verdict(verdict, fuel));
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

/// What netfilter calls, by `hook.c`.
///
/// # Safety
///
/// `private` is the [`Decider`] of a registration that is alive, `cpu` was entered and is left
/// after this. `skb` and `state` are what netfilter handed to the hook, and so as their types say; for the
/// rest see [`Decider::decide`].
#[no_mangle]
unsafe extern "C" fn nf_wasm_attachment_decide(
    private: *mut c_void,
    skb: &SkBuff,
    state: &HookState,
    packet_len: u32,
    cpu: usize,
) -> c_uint {
    // SAFETY: A registration frees its data, and borrows it mutably, no earlier than a grace period
    // after netfilter stopped to call this; we are in a critical section that began before.
    let decider = unsafe { &*private.cast::<Decider>() };
    let packet = Packet {
        skb,
        state,
        len: packet_len,
    };
    // SAFETY: The CPU was entered, and is left after this. The packet and the hook's state are what
    // netfilter handed to the hook, in a critical section of its own.
    unsafe { decider.decide(packet, &Cpu::entered(cpu)) }
}
