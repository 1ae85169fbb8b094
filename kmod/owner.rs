// SPDX-License-Identifier: GPL-2.0-only
//! Whom a program is built for.
//!
//! The engine works on kernel threads, which have every capability and are charged for nothing. So
//! that the kernel treats a build as it would treat its caller, the caller's credentials and memory
//! cgroup go along. A program keeps them: its instances for CPUs that come later are built on the same
//! terms.

use core::marker::PhantomData;

use kernel::bindings as kernel_bindings;
use kernel::types::NotThreadSafe;

use crate::bindings;

/// Credentials, and the memory cgroup that is charged.
///
/// # Invariants
///
/// Both pointers are references of ours, or null where the kernel has no memory cgroups.
pub(crate) struct Owner(bindings::nf_wasm_owner);

// SAFETY: References to credentials and to memory cgroups are counted atomically, and neither has a tie
// to the task that took them.
unsafe impl Send for Owner {}
// SAFETY: Shared, they are only read: what changes in them the kernel changes by its own rules.
unsafe impl Sync for Owner {}

impl Owner {
    /// The calling task.
    pub(crate) fn current() -> Self {
        let mut owner = bindings::nf_wasm_owner {
            cred: core::ptr::null(),
            memcg: core::ptr::null_mut(),
        };
        // SAFETY: The struct is ours to write to. This is process context: there is a current task,
        // whose credentials and memory do not change while it is in here.
        unsafe { bindings::nf_wasm_owner_get(&mut owner) };
        // INVARIANT: The references were just taken.
        Owner(owner)
    }

    /// Has this task's allocations with `GFP_KERNEL_ACCOUNT` charged to the owner, as long as what is
    /// returned lives.
    pub(crate) fn charge(&self) -> Charged<'_> {
        Charged {
            // SAFETY: By the invariant the cgroup lives as long as the owner does, which is borrowed
            // until the scope ends.
            before: unsafe { bindings::nf_wasm_owner_charge(&self.0) },
            _owner: PhantomData,
            _here: NotThreadSafe,
        }
    }

    /// For C.
    pub(crate) fn as_raw(&self) -> *const bindings::nf_wasm_owner {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: By the invariant the references are ours, and this is their last use.
        unsafe { bindings::nf_wasm_owner_put(&self.0) };
    }
}

/// A scope in which an owner is charged.
pub(crate) struct Charged<'a> {
    before: *mut kernel_bindings::mem_cgroup,
    _owner: PhantomData<&'a Owner>,
    /// It is the task's that began it.
    _here: NotThreadSafe,
}

impl Drop for Charged<'_> {
    fn drop(&mut self) {
        // SAFETY: `before` is what the same task was charging when the scope began, and whoever had it
        // charge that still keeps it: scopes nest.
        unsafe { bindings::nf_wasm_owner_uncharge(self.before) };
    }
}

/// A scope in which the OOM killer, if it has to choose, is to choose the calling process: what it asks
/// for is large, and nobody else is to pay for it.
pub(crate) struct OomOrigin(NotThreadSafe);

impl OomOrigin {
    /// Begins one.
    pub(crate) fn mark() -> Self {
        // SAFETY: This is process context: there is a calling process.
        unsafe { bindings::nf_wasm_oom_origin(true) };
        OomOrigin(NotThreadSafe)
    }
}

impl Drop for OomOrigin {
    fn drop(&mut self) {
        // SAFETY: By the type this is the task that began the scope, so its process is the calling one.
        unsafe { bindings::nf_wasm_oom_origin(false) };
    }
}
