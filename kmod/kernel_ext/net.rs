// SPDX-License-Identifier: GPL-2.0-only
//! Network namespaces.
//!
//! C header: `include/net/net_namespace.h`

use kernel::bindings;
use kernel::types::Opaque;

/// A network namespace: `struct net`.
///
/// # Invariants
///
/// A reference is to a namespace that is not freed for as long as the reference lives.
#[repr(transparent)]
pub(crate) struct Net(Opaque<bindings::net>);

impl Net {
    /// Borrows a network namespace.
    ///
    /// # Safety
    ///
    /// `net` points to a network namespace that is not freed during `'a`.
    pub(crate) unsafe fn from_raw<'a>(net: *mut bindings::net) -> &'a Self {
        // INVARIANT: By the contract.
        // SAFETY: The layout is that of `struct net`, and by the contract the pointer is valid for `'a`.
        unsafe { &*net.cast() }
    }

    /// Whether it is the one that the machine booted with.
    pub(crate) fn is_initial(&self) -> bool {
        // SAFETY: The pointer is only compared.
        unsafe { crate::kernel_ext::bindings::nf_wasm_net_is_initial(self.as_raw()) }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::net {
        self.0.get()
    }
}
