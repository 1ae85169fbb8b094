// SPDX-License-Identifier: GPL-2.0-only
//! Credentials and memory cgroup of a task, for a kernel thread to use; and the OOM killer's
//! victim.
//!
//! C headers: `include/linux/cred.h`, `include/linux/memcontrol.h`, `include/linux/oom.h`

use core::ptr;

use kernel::bindings as kernel_bindings;
use kernel::types::NotThreadSafe;

use crate::kernel_ext::bindings;

/// Credentials, and the memory cgroup that is charged.
///
/// A kernel thread has every capability, and its memory is charged to no cgroup. It uses its
/// owner's credentials and memory cgroup, so that the kernel treats it like the owner.
///
/// # Invariants
///
/// Both pointers are references that we own. The reference to the memory cgroup is null if the
/// kernel has no memory cgroups.
pub(crate) struct Owner(bindings::nf_wasm_owner);

// SAFETY: References to credentials and to memory cgroups are counted atomically, and are not tied
// to the task that took them.
unsafe impl Send for Owner {}
// SAFETY: A shared reference only permits reads. The kernel synchronises its own changes of both.
unsafe impl Sync for Owner {}

impl Owner {
    /// The credentials and memory cgroup of the calling task.
    pub(crate) fn current() -> Self {
        let mut owner = bindings::nf_wasm_owner {
            cred: ptr::null(),
            memcg: ptr::null_mut(),
        };
        // SAFETY: We may write to the struct. This is process context, so there is a current task,
        // whose credentials and memory cgroup pointer do not change during the call.
        unsafe { bindings::nf_wasm_owner_get(&mut owner) };
        // INVARIANT: The references were just taken.
        Owner(owner)
    }

    /// Makes this kernel thread act with the owner's credentials, and charges the owner's memory
    /// cgroup, until [`ThreadCredentials::restore`].
    ///
    /// # Safety
    ///
    /// This is a kernel thread with its own credentials. The owner lives until these are restored.
    pub(crate) unsafe fn assume(&self) -> ThreadCredentials {
        // SAFETY: By the contract and the invariant.
        ThreadCredentials(unsafe { bindings::nf_wasm_owner_assume(&self.0) })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: By the invariant the references are ours, and this is their last use.
        unsafe { bindings::nf_wasm_owner_put(&self.0) };
    }
}

/// A kernel thread's own credentials, while it uses its owner's.
pub(crate) struct ThreadCredentials(*const kernel_bindings::cred);

impl ThreadCredentials {
    /// Makes the thread act with its own credentials again, and charges no memory cgroup.
    ///
    /// # Safety
    ///
    /// Called once, on the thread whose credentials they are.
    pub(crate) unsafe fn restore(&self) {
        // SAFETY: They came from `Owner::assume`, on this thread.
        unsafe { bindings::nf_wasm_owner_leave(self.0) };
    }
}

/// A scope in which the OOM killer prefers the calling process as its victim: the process requests
/// much memory, and no other process should die for that.
pub(crate) struct OomOrigin {
    /// The scope has set the process's flag, which was not set before.
    is_ours: bool,
    _here: NotThreadSafe,
}

impl OomOrigin {
    /// Begins a scope.
    pub(crate) fn mark() -> Self {
        OomOrigin {
            // SAFETY: This is process context: there is a calling process.
            is_ours: unsafe { bindings::nf_wasm_oom_origin_set() },
            _here: NotThreadSafe,
        }
    }
}

impl Drop for OomOrigin {
    fn drop(&mut self) {
        if self.is_ours {
            // SAFETY: By the type this is the task that began the scope, so its process is the
            // calling one, and the scope has set the flag.
            unsafe { bindings::nf_wasm_oom_origin_clear() };
        }
    }
}
