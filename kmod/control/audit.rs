// SPDX-License-Identifier: GPL-2.0-only
//! Entries in the kernel's audit log: what was done to a filter, by whom.

use kernel::prelude::*;

use crate::abi::ioctl::{Hook, FAMILY_NETDEV};
use crate::control::admission::{Admission, Digest};
use crate::decode::name::Name;
use crate::kernel_ext::audit::Record;
use crate::kernel_ext::net::Net;
use crate::objects::filter::Filter;

/// An entry that is not written yet.
#[must_use]
pub(crate) struct Entry<'a>(Record<'a>);

impl<'a> Entry<'a> {
    /// Says that `op` was done to the filter with this name, and id or 0.
    pub(crate) fn new(op: &'static CStr, net: &'a Net, name: &'a Name, id: u32) -> Self {
        Entry(Record::new(op, net, name.as_c_str(), id))
    }

    /// As [`Self::new`], of a filter that is there, or was.
    pub(crate) fn of(op: &'static CStr, net: &'a Net, filter: &'a Filter) -> Self {
        Self::new(op, net, filter.name(), filter.id)
    }

    /// Which program it was about.
    pub(crate) fn program(mut self, admission: &'a Admission) -> Self {
        self.0.digest(admission.digest.bytes());
        self.0.origin(admission.origin_name());
        self
    }

    /// Which program it was about, that was refused with `error`.
    pub(crate) fn refused(mut self, digest: &'a Digest, error: Error) -> Self {
        self.0.digest(digest.bytes());
        self.0.error(error);
        self
    }

    /// Where the filter is, or was, attached.
    pub(crate) fn at(mut self, attachment: u32, hook: &'a Hook) -> Self {
        self.0
            .attachment(attachment, hook.family, hook.hook, hook.priority);
        if hook.family == FAMILY_NETDEV {
            // It ends with NUL: `check::hook` saw to that.
            if let Ok(name) = CStr::from_bytes_until_nul(&hook.device) {
                self.0.device(name);
            }
        }
        self
    }

    /// Writes it. Sleeps, if the audit daemon is far behind.
    pub(crate) fn write(self) {
        self.0.write();
    }

    /// Writes it without waiting, for those who hold RTNL.
    pub(crate) fn write_now(self) {
        self.0.write_now();
    }
}
