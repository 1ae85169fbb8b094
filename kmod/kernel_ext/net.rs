// SPDX-License-Identifier: GPL-2.0-only
//! Network namespaces.
//!
//! C header: `include/net/net_namespace.h`

use kernel::bindings as kernel_bindings;
use kernel::task::CurrentTask;
use kernel::types::Opaque;

use crate::kernel_ext::bindings;

/// A network namespace: `struct net`.
///
/// # Invariants
///
/// A reference is to a namespace that is not freed while the reference exists.
#[repr(transparent)]
pub(crate) struct Net(Opaque<kernel_bindings::net>);

impl Net {
    /// Borrows a network namespace.
    ///
    /// # Safety
    ///
    /// `net` points to a network namespace that is not freed during `'a`.
    pub(super) unsafe fn from_raw<'a>(net: *mut kernel_bindings::net) -> &'a Self {
        // INVARIANT: By the contract.
        // SAFETY: The layout is that of `struct net`, and by the contract the pointer is valid for
        // `'a`.
        unsafe { &*net.cast() }
    }

    pub(super) fn as_raw(&self) -> *mut kernel_bindings::net {
        self.0.get()
    }

    /// The namespace of `task`, which cannot change during this system call.
    /// `None` if the task is exiting.
    pub(crate) fn of_task(task: &CurrentTask) -> Option<&Self> {
        // SAFETY: `task` is the current task, and only the task itself changes its `nsproxy`.
        let net = unsafe { bindings::nf_wasm_task_net(task.as_ptr()) };
        // SAFETY: The `nsproxy` holds a reference to the namespace. The task can only switch to
        // another namespace in a system call other than the one that `task` is borrowed in.
        (!net.is_null()).then(|| unsafe { Self::from_raw(net) })
    }

    /// Whether this is the initial network namespace.
    pub(crate) fn is_initial(&self) -> bool {
        // SAFETY: The pointer is only compared.
        unsafe { bindings::nf_wasm_net_is_initial(self.as_raw()) }
    }

    /// Whether the calling task has CAP_NET_ADMIN in the initial user namespace or, with
    /// `user_namespaces`, in the user namespace that owns this network namespace.
    pub(crate) fn is_capable(&self, user_namespaces: bool) -> bool {
        // SAFETY: By the invariant the namespace is valid. This is process context, so there is a
        // calling task.
        unsafe { bindings::nf_wasm_net_capable(self.as_raw(), user_namespaces) }
    }
}

/// Whether the kernel's log shows lines of network namespaces other than the initial one: the
/// sysctl `net.netfilter.nf_log_all_netns`. Any context.
pub(crate) fn log_all_namespaces() -> bool {
    // SAFETY: Only reads a setting.
    unsafe { bindings::nf_wasm_log_all_namespaces() }
}
