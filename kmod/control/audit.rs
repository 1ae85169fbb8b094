// SPDX-License-Identifier: GPL-2.0-only
//! Records in the kernel's audit log which command was carried out on which filter, and by which
//! task.

use kernel::prelude::*;

use crate::abi::ioctl::{Hook, FAMILY_NETDEV};
use crate::control::admission::{Admission, Digest};
use crate::decode::name::Name;
use crate::kernel_ext::audit::Record;
use crate::kernel_ext::net::Net;
use crate::objects::filter::Filter;

/// A record that is not written yet.
#[must_use]
pub(crate) struct Entry<'a>(Record<'a>);

impl<'a> Entry<'a> {
    /// A record of the command `op` on the filter with this name and id. The id is 0 if it has
    /// none.
    pub(crate) fn new(op: &'static CStr, net: &'a Net, name: &'a Name, id: u32) -> Self {
        Entry(Record::new(op, net, name.as_c_str(), id))
    }

    /// As [`Self::new`], for a filter that exists or was just removed.
    pub(crate) fn of(op: &'static CStr, net: &'a Net, filter: &'a Filter) -> Self {
        Self::new(op, net, filter.name(), filter.id)
    }

    /// Adds the program's digest and origin.
    pub(crate) fn program(mut self, admission: &'a Admission) -> Self {
        self.0.digest(admission.digest.bytes());
        self.0.origin(admission.origin_name());
        self
    }

    /// Adds the digest of a program that was refused, and marks the operation as failed with
    /// `error`.
    pub(crate) fn refused(mut self, digest: &'a Digest, error: Error) -> Self {
        self.0.digest(digest.bytes());
        self.0.error(error);
        self
    }

    /// Adds the attachment's id and hook.
    pub(crate) fn at(mut self, attachment: u32, hook: &'a Hook) -> Self {
        self.0
            .attachment(attachment, hook.family, hook.hook, hook.priority);
        if hook.family == FAMILY_NETDEV {
            // It ends with NUL: `check::hook` checked that.
            if let Ok(name) = CStr::from_bytes_until_nul(&hook.device) {
                self.0.device(name);
            }
        }
        self
    }

    /// Writes the record. Sleeps if the audit daemon is far behind.
    pub(crate) fn write(self) {
        self.0.write();
    }

    /// Writes the record without sleeping, for callers that hold RTNL.
    pub(crate) fn write_now(self) {
        self.0.write_now();
    }
}
