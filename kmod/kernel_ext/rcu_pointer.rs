// SPDX-License-Identifier: GPL-2.0-only
//! An owning pointer that is replaced while readers use it under RCU.
//!
//! C header: `include/linux/rcupdate.h`

use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr;

use kernel::sync::atomic::{Acquire, Atomic, Full};
use kernel::sync::rcu;

use crate::kernel_ext::grace_period::GracePeriod;

/// An owning pointer that can be converted to a raw one, and back.
///
/// # Safety
///
/// [`Self::into_raw`] returns the address that the owner dereferences to. The value there is
/// neither moved nor freed nor borrowed mutably until [`Self::from_raw`] is called.
pub(crate) unsafe trait IntoRaw: Deref<Target: Sized> {
    /// Turns the owner into a raw pointer.
    fn into_raw(self) -> *mut Self::Target;

    /// Turns the raw pointer back into an owner.
    ///
    /// # Safety
    ///
    /// `raw` came from [`Self::into_raw`], and this is called once for it.
    unsafe fn from_raw(raw: *mut Self::Target) -> Self;
}

/// An owning pointer that is replaced while readers use it.
///
/// # Invariants
///
/// `raw` is null, or came from [`IntoRaw::into_raw`] and is ours. Once it is not null, it never
/// becomes null. A replaced value is freed no earlier than a grace period after its replacement.
pub(crate) struct RcuPointer<P: IntoRaw> {
    raw: Atomic<*mut P::Target>,
    _owns: PhantomData<P>,
}

// SAFETY: It owns a `P`, and gives references to the value that `P` dereferences to.
unsafe impl<P: IntoRaw<Target: Sync> + Send> Send for RcuPointer<P> {}
// SAFETY: A shared reference gives references to the value, and exchanges owners.
unsafe impl<P: IntoRaw<Target: Sync> + Send> Sync for RcuPointer<P> {}

impl<P: IntoRaw> RcuPointer<P> {
    pub(crate) fn null() -> Self {
        // INVARIANT: Null.
        RcuPointer {
            raw: Atomic::new(ptr::null_mut()),
            _owns: PhantomData,
        }
    }

    /// The value, valid during the RCU read-side critical section.
    pub(crate) fn get<'a>(&'a self, _rcu: &'a rcu::Guard) -> Option<&'a P::Target> {
        // SAFETY: By the invariant the pointer is null, or points to a value that lives for a grace
        // period after its replacement. A grace period cannot end before the critical section of
        // `_rcu`, and so not during `'a`.
        unsafe { self.read().as_ref() }
    }

    /// The same, for a caller that is already in a critical section.
    ///
    /// # Safety
    ///
    /// The caller is in an RCU read-side critical section, which lasts for `'a`, and
    /// [`Self::replace`] was called before.
    #[inline(always)]
    pub(crate) unsafe fn get_in_section<'a>(&'a self) -> &'a P::Target {
        // SAFETY: The caller's critical section keeps the value alive for `'a`, as a guard would.
        // By the contract and the invariant the pointer is not null.
        unsafe { self.read().as_ref().unwrap_unchecked() }
    }

    /// As rcu_dereference(): reads through the pointer are ordered after this by address
    /// dependency.
    #[inline(always)]
    fn read(&self) -> *const P::Target {
        // SAFETY: The pointer is valid and aligned. Writes to it are atomic, and this read does not
        // tear.
        unsafe { self.raw.as_ptr().read_volatile() }
    }

    /// Replaces the current owner with `owner`. Returns the old one, if there was one.
    pub(crate) fn replace(&self, owner: P) -> Option<Retired<P>> {
        // INVARIANT: It comes from `into_raw`.
        let old = self.raw.xchg(owner.into_raw(), Full);
        if old.is_null() {
            return None;
        }
        // INVARIANT: The pointer was replaced before the grace period begins.
        Some(Retired {
            grace_period: GracePeriod::begin(),
            // SAFETY: By the invariant it came from `into_raw`, and after the exchange it is ours.
            _owner: unsafe { P::from_raw(old) },
        })
    }
}

impl<P: IntoRaw> Drop for RcuPointer<P> {
    fn drop(&mut self) {
        let raw = self.raw.load(Acquire);
        if !raw.is_null() {
            // SAFETY: By the invariant it came from `into_raw` and is ours. It has no readers,
            // because each has a reference to `self`.
            drop(unsafe { P::from_raw(raw) });
        }
    }
}

/// A replaced owner. Readers may still use the value: dropping this sleeps until they have
/// finished.
///
/// # Invariants
///
/// The pointer was replaced before `grace_period` began.
pub(crate) struct Retired<P> {
    grace_period: GracePeriod,
    _owner: P,
}

impl<P> Drop for Retired<P> {
    fn drop(&mut self) {
        // The owner is dropped after this.
        self.grace_period.wait();
    }
}
