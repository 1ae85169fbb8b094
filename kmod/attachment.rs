// SPDX-License-Identifier: GPL-2.0-only
//! Attachments: a filter at a netfilter hook. This is where packets come in.

use core::ffi::{c_uint, c_void};
use core::ptr;

use kernel::bindings as kernel_bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

use crate::abi::ioctl::{self, Hook, DEVICE_LEN, NO_TRAP};
use crate::abi::trap::Trap;
use crate::bindings;
use crate::counters::{CpuCounters, Totals};
use crate::cpu::{Cpu, PerCpu};
use crate::filter::Filter;
use crate::packet::{self, Host};
use crate::program::Decision;
use crate::refusal::Answer;

const NF_ACCEPT: c_uint = kernel_bindings::NF_ACCEPT;

/// A filter at a hook.
///
/// # Invariants
///
/// `ops` is registered with `net` exactly as long as `registered` says so, and for that time and a
/// grace period the attachment neither moves nor is freed. `device` is null, or registered for as
/// long as `ops` is.
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
    /// `device` is null unless the family is netdev, and then a device that is registered, and
    /// whose unregistration leads to [`Self::unregister`] first.
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
            GFP_KERNEL,
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
            (*ops).hook = Some(hook);
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
    /// As a netfilter hook is called: `skb` is ours until a verdict is returned, `state` is valid,
    /// and the caller is in an RCU read-side critical section.
    unsafe fn filter(
        &self,
        skb: *mut kernel_bindings::sk_buff,
        state: *const bindings::nf_hook_state,
    ) -> Decision {
        // Bottom halves must be off before the program is looked up: its instance for this CPU is
        // used by whoever is alone here.
        let cpu = Cpu::enter();
        // SAFETY: By the contract the caller is in a critical section.
        let Some(program) = (unsafe { self.filter.program_in_section() }) else {
            // Not reached: a filter is attached after its program was published.
            return Decision {
                accept: false,
                quarantined: false,
                trap: Trap::Internal as u32,
                fuel: 0,
            };
        };
        // SAFETY: By the contract.
        let mut context = unsafe { packet::describe(skb, state) };
        // SAFETY: By the contract the packet is ours while it is decided.
        let mut host = unsafe { Host::packet(skb, &self.filter.logger) };
        let decision = program.decide(&cpu, &mut host, &mut context);
        if let Some(counters) = self.counters.get(&cpu) {
            counters.count(context.packet_len, &decision);
        }
        // SAFETY: Only reads a static key.
        if unsafe { bindings::nf_wasm_trace_enabled() } {
            let trace = bindings::nf_wasm_trace {
                filter: self.filter.id,
                attachment: self.id,
                hook: context.hook,
                family: context.family,
                packet_len: context.packet_len,
                verdict: u32::from(decision.accept),
                trap: decision.trap,
                fuel: decision.fuel,
            };
            // SAFETY: Both are valid during the call.
            unsafe { bindings::nf_wasm_trace_verdict(skb, &trace) };
        }
        decision
    }
}

/// The function that netfilter calls.
///
/// # Safety
///
/// `private` is a registered [`Attachment`]; for the rest see [`Attachment::filter`].
unsafe extern "C" fn hook(
    private: *mut c_void,
    skb: *mut kernel_bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: By the contract, and the invariants keep it alive while packets are inside.
    let attachment = unsafe { &*private.cast::<Attachment>() };
    // SAFETY: By the contract.
    let decision = unsafe { attachment.filter(skb, state) };
    if decision.accept {
        return NF_ACCEPT;
    }
    const OUT_OF_FUEL: u32 = Trap::OutOfFuel as u32;
    // SAFETY: The packet is ours, and the verdict that these return says that it is gone.
    unsafe {
        match decision.trap {
            NO_TRAP if decision.quarantined => bindings::nf_wasm_drop_quarantine(skb),
            NO_TRAP => bindings::nf_wasm_drop_verdict(skb),
            OUT_OF_FUEL => bindings::nf_wasm_drop_fuel(skb),
            _ => bindings::nf_wasm_drop_trap(skb),
        }
    }
}
