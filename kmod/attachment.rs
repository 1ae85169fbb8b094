// SPDX-License-Identifier: GPL-2.0-only
//! Attachments: a filter at a netfilter hook. This is where packets come in.

use core::ffi::{c_uint, c_void};
use core::ptr;

use kernel::bindings as kernel_bindings;
use kernel::error::to_result;
use kernel::jump_label::static_branch_unlikely;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

use crate::abi::guest::{ACCEPT, DROP};
use crate::abi::ioctl::{self, Hook, DEVICE_LEN, FAMILY_NETDEV, NO_TRAP};
use crate::abi::trap::Trap;
use crate::bindings;
use crate::counters::{CpuCounters, Totals};
use crate::cpu::{Cpu, PerCpu};
use crate::filter::Filter;
use crate::machine::TRAPPED;
use crate::native::Call;
use crate::packet::Packet;
use crate::program::{Decision, Program};
use crate::refusal::Answer;

const NF_ACCEPT: c_uint = kernel_bindings::NF_ACCEPT;

/// A filter at a hook.
///
/// # Invariants
///
/// `ops` is registered with `net` exactly as long as `registered` says so, and for that time and a
/// grace period the attachment neither moves nor is freed. `filter` has a program. `device` is null, or
/// registered for as long as `ops` is.
#[pin_data]
pub(crate) struct Attachment {
    pub(crate) id: u32,
    pub(crate) filter: Arc<Filter>,
    hook: Hook,
    device: *mut kernel_bindings::net_device,
    counters: PerCpu<CpuCounters>,
    registered: bool,
    #[pin]
    ops: Opaque<bindings::nf_hook_ops>,
}

// SAFETY: Counters are per CPU; everything else is only changed under the namespace's lock.
unsafe impl Send for Attachment {}
// SAFETY: As above.
unsafe impl Sync for Attachment {}

impl Attachment {
    /// An attachment that is not registered yet.
    ///
    /// # Safety
    ///
    /// A program of `filter` was published. `device` is null unless the family is netdev, and then a
    /// device that is registered, and whose unregistration leads to [`Self::unregister`] first.
    pub(crate) unsafe fn new(
        id: u32,
        filter: Arc<Filter>,
        hook: &Hook,
        device: *mut kernel_bindings::net_device,
    ) -> Answer<Pin<KBox<Self>>> {
        let counters = PerCpu::new(CpuCounters::new)?;
        let hook = *hook;
        // INVARIANT: Not registered.
        Ok(KBox::pin_init(
            try_pin_init!(Attachment {
                id,
                filter,
                hook,
                device,
                counters,
                registered: false,
                ops <- Opaque::ffi_init(|slot: *mut bindings::nf_hook_ops| {
                    // SAFETY: The slot is ours; all zero is a valid `nf_hook_ops`.
                    unsafe { slot.write_bytes(0, 1) };
                }),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    /// Lets packets of `net` in.
    ///
    /// # Safety
    ///
    /// `net` lives until [`Self::unregister`].
    pub(crate) unsafe fn register(self: Pin<&mut Self>, net: *mut kernel_bindings::net) -> Result {
        // SAFETY: Nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        let private = ptr::from_mut(this).cast::<c_void>();
        let ops = this.ops.get();
        // SAFETY: `ops` is ours, and not registered. `private` is the pinned attachment, which
        // the invariants keep alive.
        unsafe {
            (*ops).hook = Some(match this.hook.family {
                FAMILY_NETDEV => bindings::nf_wasm_netdev_hook,
                _ => bindings::nf_wasm_hook,
            });
            (*ops).dev = this.device;
            (*ops).priv_ = private;
            (*ops).pf = this.hook.family as u8;
            (*ops).hooknum = this.hook.hook;
            (*ops).priority = this.hook.priority;
            to_result(bindings::nf_register_net_hook(net, ops))?;
        }
        // INVARIANT: Registered.
        this.registered = true;
        Ok(())
    }

    /// Lets no more packets in. Some may still be inside, for a grace period.
    ///
    /// # Safety
    ///
    /// `net` is the one of [`Self::register`].
    pub(crate) unsafe fn unregister(self: Pin<&mut Self>, net: *mut kernel_bindings::net) {
        // SAFETY: Nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        if this.registered {
            // SAFETY: By the invariant the ops are registered.
            unsafe { bindings::nf_unregister_net_hook(net, this.ops.get()) };
            // INVARIANT: No longer.
            this.registered = false;
        }
    }

    /// Where it is. A device may have been renamed since.
    pub(crate) fn hook(&self) -> &Hook {
        &self.hook
    }

    pub(crate) fn is_on(&self, device: *const kernel_bindings::net_device) -> bool {
        ptr::eq(self.device, device)
    }

    /// Whether `hook` names the same place and priority, on `device`.
    pub(crate) fn is_at(&self, hook: &Hook, device: *const kernel_bindings::net_device) -> bool {
        self.is_on(device)
            && self.hook.family == hook.family
            && self.hook.hook == hook.hook
            && self.hook.priority == hook.priority
    }

    /// What has been counted here.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        self.counters.iter().for_each(|cpu| totals.add_cpu(cpu));
        totals
    }

    /// As a listing has it.
    pub(crate) fn entry(&self) -> ioctl::AttachmentEntry {
        let mut hook = self.hook;
        let mut ifindex = 0;
        if !self.device.is_null() {
            // SAFETY: By the invariant the device is registered. A rename may tear the name that
            // is shown, but not take its last NUL.
            unsafe {
                ifindex = bindings::nf_wasm_dev_ifindex(self.device);
                bindings::nf_wasm_dev_name(self.device, hook.device.as_mut_ptr().cast());
            }
            hook.device[DEVICE_LEN - 1] = 0;
        }
        ioctl::AttachmentEntry {
            id: self.id,
            filter: self.filter.id,
            hook,
            ifindex,
            reserved: 0,
            counters: self.totals().counters(),
        }
    }

    /// Decides one packet.
    ///
    /// # Safety
    ///
    /// As a netfilter hook is called: the packet is ours until a verdict is returned, and the caller
    /// is in an RCU read-side critical section.
    #[inline(always)]
    unsafe fn decide(&self, packet: Packet, cpu: &Cpu) -> c_uint {
        let Packet { skb, state, len } = packet;
        // SAFETY: By the contract.
        let program = unsafe { self.filter.program_in_section() };
        let Some(call) = program.usual(cpu) else {
            // SAFETY: By the contract.
            return unsafe { self.decide_at_length(skb, state, len, cpu.number()) };
        };
        let counters = self.counters.here(cpu);
        // SAFETY: The call is this CPU's, and we are alone with its packet path. It calls nobody who
        // could come back here.
        let code = unsafe { call.run(&packet) };
        if code >= TRAPPED {
            // SAFETY: By the contract.
            return unsafe {
                match call.wants_copy(code) {
                    true => self.decide_copy(call, counters, skb, len, code),
                    false => self.trapped(call, counters, skb, len, code),
                }
            };
        }
        let fuel = call.fuel_used();
        counters.count_verdict(len, code, fuel);
        if trace_wanted() {
            self.trace_verdict(skb, len, code, fuel);
        }
        if code != 0 {
            return code;
        }
        // SAFETY: The packet is ours, and gone by what this returns.
        unsafe { bindings::nf_wasm_drop_verdict(skb) }
    }

    /// Decides a packet that could not be decided where it is, as `code` says.
    ///
    /// # Safety
    ///
    /// As [`Self::decide`]; the rest is this CPU's.
    #[inline(never)]
    unsafe fn decide_copy(
        &self,
        call: &Call,
        counters: &CpuCounters,
        skb: *mut kernel_bindings::sk_buff,
        len: u32,
        code: u32,
    ) -> c_uint {
        call.note_copy(code, counters.packets());
        // SAFETY: By the contract.
        unsafe {
            let code = call.run_on_copy(skb, len);
            if code >= TRAPPED {
                return self.trapped(call, counters, skb, len, code);
            }
            self.carry_out(
                skb,
                len,
                counters,
                &Decision::verdict(code, call.fuel_used()),
            )
        }
    }

    /// Decides a packet that [`Program::usual`] trapped on, with `code`.
    ///
    /// # Safety
    ///
    /// As [`Self::decide`]; the rest is this CPU's.
    #[inline(never)]
    unsafe fn trapped(
        &self,
        call: &Call,
        counters: &CpuCounters,
        skb: *mut kernel_bindings::sk_buff,
        len: u32,
        code: u32,
    ) -> c_uint {
        // SAFETY: By the contract.
        unsafe {
            let decision = Program::note_usual_trap(&Cpu::entered_here(), call, code);
            self.carry_out(skb, len, counters, &decision)
        }
    }

    /// The same as [`Self::decide`], for all that is not usual with a filter that was compiled. Its
    /// arguments are those of [`nf_wasm_attachment_decide`], so that they need not be kept elsewhere.
    ///
    /// # Safety
    ///
    /// As [`Self::decide`]; `cpu` is entered.
    #[inline(never)]
    unsafe fn decide_at_length(
        &self,
        skb: *mut kernel_bindings::sk_buff,
        state: *const bindings::nf_hook_state,
        len: u32,
        cpu: usize,
    ) -> c_uint {
        let packet = &Packet { skb, state, len };
        // SAFETY: By the contract.
        let cpu = &unsafe { Cpu::entered(cpu) };
        // SAFETY: By the contract.
        unsafe {
            let program = self.filter.program_in_section();
            let decision = program.decide(cpu, packet, &self.filter.logger);
            self.carry_out(skb, len, self.counters.here(cpu), &decision)
        }
    }

    /// Counts a packet, and has it go on or drops it.
    ///
    /// # Safety
    ///
    /// The packet is the caller's, and gone or not by what this returns.
    #[inline(always)]
    unsafe fn carry_out(
        &self,
        skb: *mut kernel_bindings::sk_buff,
        len: u32,
        counters: &CpuCounters,
        decision: &Decision,
    ) -> c_uint {
        counters.count(len, decision);
        if trace_wanted() {
            self.trace(skb, len, decision);
        }
        if decision.accept {
            return NF_ACCEPT;
        }
        const OUT_OF_FUEL: u32 = Trap::OutOfFuel as u32;
        // SAFETY: By the contract, and the verdict that these return says that the packet is gone.
        unsafe {
            match decision.trap {
                NO_TRAP if decision.quarantined => bindings::nf_wasm_drop_quarantine(skb),
                NO_TRAP => bindings::nf_wasm_drop_verdict(skb),
                OUT_OF_FUEL => bindings::nf_wasm_drop_fuel(skb),
                _ => bindings::nf_wasm_drop_trap(skb),
            }
        }
    }

    /// [`Self::trace`] for a packet of which all is in registers.
    #[cold]
    #[inline(never)]
    fn trace_verdict(
        &self,
        skb: *const kernel_bindings::sk_buff,
        len: u32,
        verdict: u32,
        fuel: u64,
    ) {
        self.trace(skb, len, &Decision::verdict(verdict, fuel));
    }

    fn trace(&self, skb: *const kernel_bindings::sk_buff, len: u32, decision: &Decision) {
        let trace = bindings::nf_wasm_trace {
            filter: self.filter.id,
            attachment: self.id,
            hook: self.hook.hook,
            family: self.hook.family,
            packet_len: len,
            verdict: u32::from(decision.accept),
            trap: decision.trap,
            fuel: decision.fuel,
        };
        // SAFETY: Both are valid during the call.
        unsafe { bindings::nf_wasm_trace_verdict(skb, &trace) };
    }
}

/// A verdict of a guest's is one of netfilter's.
const _: () = assert!(DROP as c_uint == kernel_bindings::NF_DROP && ACCEPT as c_uint == NF_ACCEPT);

#[inline(always)]
fn trace_wanted() -> bool {
    // SAFETY: It is the tracepoint's key.
    unsafe {
        static_branch_unlikely!(
            bindings::__tracepoint_verdict,
            kernel_bindings::tracepoint,
            key
        )
    }
}

/// What netfilter calls, by `hook.c`.
///
/// # Safety
///
/// `private` is a registered [`Attachment`], `cpu` was entered; for the rest see
/// [`Attachment::decide`].
#[no_mangle]
unsafe extern "C" fn nf_wasm_attachment_decide(
    private: *mut c_void,
    skb: *mut kernel_bindings::sk_buff,
    state: *const bindings::nf_hook_state,
    packet_len: u32,
    cpu: usize,
) -> c_uint {
    // SAFETY: By the contract, and the invariants keep it alive while packets are inside.
    let attachment = unsafe { &*private.cast::<Attachment>() };
    let packet = Packet {
        skb,
        state,
        len: packet_len,
    };
    // SAFETY: By the contract.
    unsafe { attachment.decide(packet, &Cpu::entered(cpu)) }
}
