// SPDX-License-Identifier: GPL-2.0-only
//! Records in the kernel's audit log.
//!
//! C header: `include/linux/audit.h`

use core::marker::PhantomData;
use core::ptr;

use kernel::prelude::*;

use crate::kernel_ext::bindings;
use crate::kernel_ext::integrity::DIGEST_LEN;
use crate::kernel_ext::net::Net;

/// A record that is not written yet.
///
/// # Invariants
///
/// The pointers in it are valid for `'a`, or null. Strings end with NUL.
#[must_use]
pub(crate) struct Record<'a> {
    record: bindings::nf_wasm_audit,
    _borrowed: PhantomData<&'a ()>,
}

impl<'a> Record<'a> {
    /// A record of the operation `op` on the filter with this name and id. The id is 0 if it has
    /// none.
    pub(crate) fn new(op: &'static CStr, net: &'a Net, filter: &'a CStr, id: u32) -> Self {
        // INVARIANT: Each pointer is borrowed for `'a`, or null.
        Record {
            record: bindings::nf_wasm_audit {
                op: op.as_char_ptr(),
                net: net.as_raw(),
                filter: filter.as_char_ptr(),
                id,
                attachment: 0,
                family: 0,
                hook: 0,
                priority: 0,
                device: ptr::null(),
                digest: ptr::null(),
                origin: ptr::null(),
                error: 0,
                may_sleep: true,
            },
            _borrowed: PhantomData,
        }
    }

    /// Adds the Wasm module's SHA-256 digest.
    pub(crate) fn digest(&mut self, digest: &'a [u8; DIGEST_LEN]) {
        self.record.digest = digest.as_ptr();
    }

    /// Adds why the Wasm module was admitted.
    pub(crate) fn origin(&mut self, origin: &'static CStr) {
        self.record.origin = origin.as_char_ptr();
    }

    /// Marks the operation as failed.
    pub(crate) fn error(&mut self, error: Error) {
        self.record.error = error.to_errno();
    }

    /// Adds an attachment, whose id is not 0, and its hook.
    pub(crate) fn attachment(&mut self, id: u32, family: u32, hook: u32, priority: i32) {
        self.record.attachment = id;
        self.record.family = family;
        self.record.hook = hook;
        self.record.priority = priority;
    }

    /// Adds a device's name.
    pub(crate) fn device(&mut self, name: &'a CStr) {
        self.record.device = name.as_char_ptr();
    }

    /// Writes the record. Sleeps if the audit daemon is far behind. Process context.
    pub(crate) fn write(self) {
        // SAFETY: By the invariant the pointers are valid. A digest has as many bytes as the C half
        // reads. All commands, namespaces that end and the notifier are in process context.
        unsafe { bindings::nf_wasm_audit(&self.record) };
    }

    /// Writes the record without sleeping, for callers that hold RTNL. If the audit daemon is far
    /// behind, the record is lost, and audit counts it as lost. Process context.
    pub(crate) fn write_now(mut self) {
        self.record.may_sleep = false;
        self.write();
    }
}
