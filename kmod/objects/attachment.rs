// SPDX-License-Identifier: GPL-2.0-only
//! Attachments: a filter at a netfilter hook. Their packet path is in [`crate::packet::decider`].

use core::ptr;

use kernel::prelude::*;
use kernel::sync::Arc;

use crate::abi::ioctl::{
    AttachmentEntry, Hook, DEVICE_LEN, FAMILY_INET, FAMILY_IPV4, FAMILY_IPV6, FAMILY_NETDEV,
};
use crate::control::refusal::Answer;
use crate::kernel_ext::hook_registration::{Function, HookRegistration, Place};
use crate::kernel_ext::net::Net;
use crate::kernel_ext::netdevice::{self, NetDevice};
use crate::objects::counters::Totals;
use crate::objects::filter::Filter;
use crate::packet::decider::Decider;

/// A filter at a hook.
///
/// # Invariants
///
/// `device` is null if the hook's family is not netdev, or if the attachment was never registered.
/// Otherwise the device is registered in the network namespace for as long as the hook is
/// registered.
pub(crate) struct Attachment {
    /// 0 until it is registered.
    pub(crate) id: u32,
    registration: HookRegistration<Decider>,
    /// The device name in it is updated when the device is renamed.
    hook: Hook,
    device: *const NetDevice,
    ifindex: u32,
}

// SAFETY: The device is only compared, and passed to netfilter, which any thread may do.
unsafe impl Send for Attachment {}
// SAFETY: It changes only through `&mut`.
unsafe impl Sync for Attachment {}

impl Attachment {
    /// An attachment that is not registered yet. Allocates all its memory, which is charged to the
    /// caller. A charge to a full memory cgroup sleeps for long, so the caller must not hold the
    /// lock of the namespace's tables: the device notifier waits for it.
    ///
    /// # Safety
    ///
    /// A program of `filter` was published.
    pub(crate) unsafe fn new(filter: Arc<Filter>, hook: &Hook) -> Answer<Self> {
        // SAFETY: By the contract the filter has a program.
        let decider = unsafe { Decider::new(filter, hook)? };
        // INVARIANT: Null.
        Ok(Attachment {
            id: 0,
            registration: HookRegistration::new(decider)?,
            hook: *hook,
            device: ptr::null(),
            ifindex: 0,
        })
    }

    /// Registers the attachment in `net`, which lets packets in. If this fails, packets may be
    /// inside nevertheless, until [`Self::has_left`]. Returns `EBUSY` if this was called before.
    ///
    /// # Safety
    ///
    /// `net` lives as long as the attachment. `device` is null unless the family is netdev. If it
    /// is not null, the device is registered now, and [`Self::unregister`] is called before it is
    /// unregistered.
    pub(crate) unsafe fn register(
        &mut self,
        id: u32,
        device: *const NetDevice,
        net: &Net,
    ) -> Result {
        self.registration.data_mut().ok_or(EBUSY)?.set_id(id);
        self.id = id;
        // INVARIANT: By the contract.
        self.device = device;
        // SAFETY: By the contract the device is registered, if there is one. It is renamed and
        // moved with RTNL held, and the notifier calls us after that: see `Self::rename`.
        if let Some(device) = unsafe { device.as_ref() } {
            self.ifindex = device.ifindex();
        }
        // SAFETY: As above.
        unsafe { self.copy_device_name() };
        let place = Place {
            family: self.hook.family as u8,
            hook: self.hook.hook,
            priority: self.hook.priority,
            device: self.device,
        };
        let function = match self.hook.family {
            FAMILY_NETDEV => Function::Netdev,
            _ => Function::Ip,
        };
        // SAFETY: By the contract `net` lives, and by the invariant the device stays registered.
        // Both functions pass their arguments to `nf_wasm_attachment_decide`, which takes the
        // pointer for a `&Decider`, and both fulfil its contract.
        unsafe { self.registration.register(net, &place, function) }
    }

    /// Lets no more packets in. Some may still be inside, until [`Self::has_left`]. Does not wait
    /// for them.
    pub(crate) fn unregister(&mut self) {
        self.registration.unregister();
    }

    /// Whether the attachment lets packets in.
    pub(crate) fn is_registered(&self) -> bool {
        self.registration.is_registered()
    }

    /// Whether the last packet has left.
    pub(crate) fn has_left(&self) -> bool {
        self.registration.has_left()
    }

    pub(crate) fn filter(&self) -> &Arc<Filter> {
        self.registration.filter()
    }

    pub(crate) fn hook(&self) -> &Hook {
        &self.hook
    }

    /// Null if the family is not netdev.
    pub(crate) fn device(&self) -> *const NetDevice {
        self.device
    }

    pub(crate) fn is_on(&self, device: *const NetDevice) -> bool {
        ptr::eq(self.device, device)
    }

    /// Whether the attachment has the family, hook and priority of `hook`, on `device`.
    pub(crate) fn is_at(&self, hook: &Hook, device: *const NetDevice) -> bool {
        self.is_on(device)
            && self.hook.family == hook.family
            && self.hook.hook == hook.hook
            && self.hook.priority == hook.priority
    }

    /// Whether a packet of `protocol`, which is not inet, meets the attachment at the hook with
    /// this number, on `device`.
    pub(crate) fn meets(&self, protocol: u32, hook: u32, device: *const NetDevice) -> bool {
        self.is_on(device)
            && self.hook.hook == hook
            && protocols(self.hook.family).contains(&protocol)
    }

    /// Copies the device's name. Called with the namespace's tables locked: once at the
    /// registration, and after each renaming. If the device is being renamed at the registration,
    /// the copy may have parts of both names. The notifier then waits for the tables, and calls
    /// this again.
    pub(crate) fn rename(&mut self) {
        if self.is_registered() {
            // SAFETY: By the invariant the device is registered, because the hook is.
            unsafe { self.copy_device_name() };
        }
    }

    /// # Safety
    ///
    /// The device is registered, if there is one.
    unsafe fn copy_device_name(&mut self) {
        // SAFETY: By the contract.
        if let Some(device) = unsafe { self.device.as_ref() } {
            device.copy_name(&mut self.hook.device);
        }
    }

    /// The attachment's counters, summed over CPUs.
    pub(crate) fn totals(&self) -> Totals {
        self.registration.totals()
    }

    /// The attachment's entry for `NF_WASM_LIST_ATTACHMENTS`.
    pub(crate) fn entry(&self) -> AttachmentEntry {
        AttachmentEntry {
            id: self.id,
            filter: self.filter().id,
            hook: self.hook,
            ifindex: self.ifindex,
            reserved: 0,
            counters: self.totals().counters(),
        }
    }
}

const _: () = assert!(DEVICE_LEN == netdevice::NAME_LEN);

/// The protocols whose packets meet a hook of `family`.
pub(crate) fn protocols(family: u32) -> &'static [u32] {
    match family {
        FAMILY_INET => &[FAMILY_IPV4, FAMILY_IPV6],
        FAMILY_IPV4 => &[FAMILY_IPV4],
        FAMILY_IPV6 => &[FAMILY_IPV6],
        _ => &[FAMILY_NETDEV],
    }
}
