// SPDX-License-Identifier: GPL-2.0-only
//! Attachments: a filter at a netfilter hook. The packet path of one is in [`crate::packet::decider`].

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
/// `device` is null if the hook's family is not netdev, or the attachment was never registered.
/// Else it is registered with the namespace for as long as the hook is.
pub(crate) struct Attachment {
    /// 0 until it is registered.
    pub(crate) id: u32,
    registration: HookRegistration<Decider>,
    /// The device's name is the one of its last renaming.
    hook: Hook,
    device: *const NetDevice,
    ifindex: u32,
}

// SAFETY: The device is only compared with, and handed to netfilter, which any thread may do.
unsafe impl Send for Attachment {}
// SAFETY: Nothing changes but through `&mut`.
unsafe impl Sync for Attachment {}

impl Attachment {
    /// An attachment that is not registered yet, with all the memory that it needs. That is charged
    /// to the caller, whom a full memory cgroup has sleep for long: called without the namespace's
    /// tables, which the device notifier waits for.
    ///
    /// # Safety
    ///
    /// A program of `filter` was published.
    pub(crate) unsafe fn new(filter: Arc<Filter>, hook: &Hook) -> Answer<Self> {
        // SAFETY: The caller says that the filter has a program.
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

    /// Lets packets of `net` in. Where that fails, some may be inside nevertheless, until
    /// [`Self::has_left`]. `EBUSY` if that was tried before.
    ///
    /// # Safety
    ///
    /// `net` lives as long as the attachment. `device` is null unless the family is netdev, and
    /// then it is registered now, and [`Self::unregister`] is called before it no longer is.
    pub(crate) unsafe fn register(
        &mut self,
        id: u32,
        device: *const NetDevice,
        net: &Net,
    ) -> Result {
        self.registration.data_mut().ok_or(EBUSY)?.set_id(id);
        self.id = id;
        // INVARIANT: By the caller's promise.
        self.device = device;
        // SAFETY: The caller says that the device is registered, if there is one. It is renamed and
        // moved with RTNL held, and who does so tells us afterwards: see `Self::rename`.
        if let Some(device) = unsafe { device.as_ref() } {
            self.ifindex = device.ifindex();
        }
        self.rename();
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
        // SAFETY: `net` lives, as the caller says, and by the invariant the device stays
        // registered. Both functions hand what they are given to `nf_wasm_attachment_decide`, which
        // takes it for a `&Decider`, and do what it needs.
        unsafe { self.registration.register(net, &place, function) }
    }

    /// Lets no more packets in. Some may still be inside, until [`Self::has_left`]. Does not wait
    /// for them.
    pub(crate) fn unregister(&mut self) {
        self.registration.unregister();
    }

    /// Whether packets come in.
    pub(crate) fn is_registered(&self) -> bool {
        self.registration.is_registered()
    }

    /// Whether no packet is inside any more.
    pub(crate) fn has_left(&self) -> bool {
        self.registration.has_left()
    }

    pub(crate) fn filter(&self) -> &Arc<Filter> {
        self.registration.filter()
    }

    /// Where it is.
    pub(crate) fn hook(&self) -> &Hook {
        &self.hook
    }

    /// Null if it is on none.
    pub(crate) fn device(&self) -> *const NetDevice {
        self.device
    }

    pub(crate) fn is_on(&self, device: *const NetDevice) -> bool {
        ptr::eq(self.device, device)
    }

    /// Whether `hook` names the same place and priority, on `device`.
    pub(crate) fn is_at(&self, hook: &Hook, device: *const NetDevice) -> bool {
        self.is_on(device)
            && self.hook.family == hook.family
            && self.hook.hook == hook.hook
            && self.hook.priority == hook.priority
    }

    /// Whether a packet of `protocol`, which is not inet, meets it at the hook with this number, on
    /// `device`.
    pub(crate) fn meets(
        &self,
        protocol: u32,
        hook: u32,
        device: *const NetDevice,
    ) -> bool {
        self.is_on(device)
            && self.hook.hook == hook
            && protocols(self.hook.family).contains(&protocol)
    }

    /// Takes its device's name down anew. Called with the namespace's tables locked: after a
    /// renaming, and once at the beginning. If a renaming is under way then, what is copied may be
    /// half of each name, but the notifier waits for the tables, and calls this again.
    pub(crate) fn rename(&mut self) {
        // SAFETY: By the invariant the device is registered, if there is one.
        if let Some(device) = unsafe { self.device.as_ref() } {
            device.copy_name(&mut self.hook.device);
        }
    }

    /// What has been counted here.
    pub(crate) fn totals(&self) -> Totals {
        self.registration.totals()
    }

    /// As a listing has it.
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

/// The families whose packets meet a hook of `family`.
pub(crate) fn protocols(family: u32) -> &'static [u32] {
    match family {
        FAMILY_INET => &[FAMILY_IPV4, FAMILY_IPV6],
        FAMILY_IPV4 => &[FAMILY_IPV4],
        FAMILY_IPV6 => &[FAMILY_IPV6],
        _ => &[FAMILY_NETDEV],
    }
}
