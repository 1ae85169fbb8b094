// SPDX-License-Identifier: GPL-2.0-only
//! Credentials and the memory cgroup of a task, for a kernel thread to take on; and the OOM killer's choice.
//!
//! C headers: `include/linux/cred.h`, `include/linux/memcontrol.h`, `include/linux/oom.h`

use core::ptr;

use kernel::bindings as kernel_bindings;
use kernel::types::NotThreadSafe;

use crate::kernel_ext::bindings;

/// Credentials, and the memory cgroup that is charged.
///
/// A kernel thread has every capability and is charged for nothing. It takes on its owner's credentials
/// and memory cgroup, so that the kernel treats it as the owner.
///
/// # Invariants
///
/// Both pointers are references of ours. That to the memory cgroup is null where nobody is charged, or the
/// kernel has none.
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
            cred: ptr::null(),
            memcg: ptr::null_mut(),
        };
        // SAFETY: The struct is ours to write to. This is process context: there is a current task,
        // whose credentials and memory do not change while it is in here.
        unsafe { bindings::nf_wasm_owner_get(&mut owner) };
        // INVARIANT: The references were just taken.
        Owner(owner)
    }

    /// The same credentials, with nobody charged.
    pub(crate) fn uncharged(&self) -> Self {
        let mut owner = bindings::nf_wasm_owner {
            cred: ptr::null(),
            memcg: ptr::null_mut(),
        };
        // SAFETY: The struct is ours to write to, and by the invariant `self` has credentials.
        unsafe { bindings::nf_wasm_owner_copy_cred(&self.0, &mut owner) };
        // INVARIANT: The reference to the credentials was just taken.
        Owner(owner)
    }

    /// This kernel thread acts with the owner's credentials, at its expense, until
    /// [`ThreadCredentials::restore`].
    ///
    /// # Safety
    ///
    /// This is a kernel thread with its own credentials. The owner lives until they are restored.
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

/// A kernel thread's own credentials, while it acts with its owner's.
pub(crate) struct ThreadCredentials(*const kernel_bindings::cred);

impl ThreadCredentials {
    /// The thread acts with its own credentials again, and is charged for nothing.
    ///
    /// # Safety
    ///
    /// Called once, on the thread that they are of.
    pub(crate) unsafe fn restore(&self) {
        // SAFETY: They came from `Owner::assume`, on this thread.
        unsafe { bindings::nf_wasm_owner_leave(self.0) };
    }
}

/// A scope in which the OOM killer, if it has to choose, is to choose the calling process: what it asks
/// for is large, and nobody else is to pay for it.
pub(crate) struct OomOrigin {
    /// The scope has set the process's flag, which had not been set.
    is_ours: bool,
    _here: NotThreadSafe,
}

impl OomOrigin {
    /// Begins one.
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
            // SAFETY: By the type this is the task that began the scope, so its process is the calling
            // one, and the flag is the one that the scope has set.
            unsafe { bindings::nf_wasm_oom_origin_clear() };
        }
    }
}
