// SPDX-License-Identifier: GPL-2.0-only
//! Entries in the kernel's audit log: what was done to a filter, by whom.

use kernel::prelude::*;

use crate::abi::ioctl::{Hook, FAMILY_NETDEV};
use crate::control::admission::{Admission, Digest};
use crate::decode::name::Name;
use crate::kernel_ext::bindings;
use crate::kernel_ext::net::Net;
use crate::objects::filter::Filter;

/// An entry that is not written yet.
#[must_use]
pub(crate) struct Entry<'a> {
    entry: bindings::nf_wasm_audit,
    _borrowed: core::marker::PhantomData<&'a ()>,
}

impl<'a> Entry<'a> {
    /// Says that `op` was done to the filter with this name, and id or 0.
    pub(crate) fn new(op: &'static CStr, net: &'a Net, name: &'a Name, id: u32) -> Self {
        Entry {
            entry: bindings::nf_wasm_audit {
                op: op.as_char_ptr(),
                net: net.as_raw(),
                filter: name.as_c_str().as_char_ptr(),
                id,
                attachment: 0,
                family: 0,
                hook: 0,
                priority: 0,
                device: core::ptr::null(),
                digest: core::ptr::null(),
                origin: core::ptr::null(),
                error: 0,
                may_sleep: true,
            },
            _borrowed: core::marker::PhantomData,
        }
    }

    /// As [`Self::new`], of a filter that is there, or was.
    pub(crate) fn of(op: &'static CStr, net: &'a Net, filter: &'a Filter) -> Self {
        Self::new(op, net, filter.name(), filter.id)
    }

    /// Which program it was about.
    pub(crate) fn program(mut self, admission: &'a Admission) -> Self {
        self.entry.digest = admission.digest.bytes().as_ptr();
        self.entry.origin = admission.origin_name().as_char_ptr();
        self
    }

    /// Which program it was about, that was refused with `error`.
    pub(crate) fn refused(mut self, digest: &'a Digest, error: Error) -> Self {
        self.entry.digest = digest.bytes().as_ptr();
        self.entry.error = error.to_errno();
        self
    }

    /// Where the filter is, or was, attached.
    pub(crate) fn at(mut self, attachment: u32, hook: &'a Hook) -> Self {
        self.entry.attachment = attachment;
        self.entry.family = hook.family;
        self.entry.hook = hook.hook;
        self.entry.priority = hook.priority;
        if hook.family == FAMILY_NETDEV {
            // It ends with NUL: `check::hook` saw to that.
            self.entry.device = hook.device.as_ptr().cast();
        }
        self
    }

    /// Writes it. Sleeps, if the audit daemon is far behind.
    pub(crate) fn write(self) {
        // SAFETY: What the entry points to is static, or borrowed for `'a`. Strings end with NUL, a
        // digest has 32 bytes, and this is process context.
        unsafe { bindings::nf_wasm_audit(&self.entry) };
    }

    /// Writes it without waiting, for those who hold RTNL. If the audit daemon is far behind it is
    /// lost, and counted as lost there.
    pub(crate) fn write_now(mut self) {
        self.entry.may_sleep = false;
        self.write();
    }
}
