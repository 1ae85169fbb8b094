// SPDX-License-Identifier: GPL-2.0-only
//! A pointer that readers follow under RCU, and that owns what it points to.
//!
//! C header: `include/linux/rcupdate.h`

use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr;

use kernel::sync::atomic::{Acquire, Atomic, Full};
use kernel::sync::rcu;

use crate::kernel_ext::grace_period::GracePeriod;

/// An owning pointer that can be a raw one for a while.
///
/// # Safety
///
/// What [`Self::into_raw`] returns points to what the owner dereferences to. That neither moves, nor is
/// freed, nor borrowed mutably, until [`Self::from_raw`] is called.
pub(crate) unsafe trait IntoRaw: Deref<Target: Sized> {
    /// Gives up ownership.
    fn into_raw(self) -> *mut Self::Target;

    /// Takes ownership back.
    ///
    /// # Safety
    ///
    /// `raw` came from [`Self::into_raw`], and nobody else takes it back.
    unsafe fn from_raw(raw: *mut Self::Target) -> Self;
}

/// A pointer that is replaced while readers follow it.
///
/// # Invariants
///
/// `raw` is null, or came from [`IntoRaw::into_raw`] and is ours. Once it is not null, it never is again.
/// What was taken out of it is freed no earlier than a grace period after that.
pub(crate) struct RcuPointer<P: IntoRaw> {
    raw: Atomic<*mut P::Target>,
    _owns: PhantomData<P>,
}

// SAFETY: It owns a `P`, and gives out references to what that dereferences to.
unsafe impl<P: IntoRaw<Target: Sync> + Send> Send for RcuPointer<P> {}
// SAFETY: Shared, it gives out references, and takes and gives owners.
unsafe impl<P: IntoRaw<Target: Sync> + Send> Sync for RcuPointer<P> {}

impl<P: IntoRaw> RcuPointer<P> {
    pub(crate) fn null() -> Self {
        // INVARIANT: Null.
        RcuPointer {
            raw: Atomic::new(ptr::null_mut()),
            _owns: PhantomData,
        }
    }

    /// What it points to, as long as the reader's critical section lasts.
    pub(crate) fn get<'a>(&'a self, _rcu: &'a rcu::Guard) -> Option<&'a P::Target> {
        // SAFETY: By the invariant the pointer is null, or to something that lives for a grace period after
        // it was taken out. That cannot end before the critical section does that `_rcu` stands for, and
        // so not during `'a`.
        unsafe { self.read().as_ref() }
    }

    /// The same, for a caller that is in a critical section already.
    ///
    /// # Safety
    ///
    /// The caller is in an RCU read-side critical section, which lasts for `'a`, and
    /// [`Self::replace`] was called.
    #[inline(always)]
    pub(crate) unsafe fn get_in_section<'a>(&'a self) -> &'a P::Target {
        // SAFETY: The caller's critical section keeps it alive for `'a`, as a guard would. By the contract
        // and the invariant the pointer is not null.
        unsafe { self.read().as_ref().unwrap_unchecked() }
    }

    /// As rcu_dereference(): what is read through the pointer depends on it.
    #[inline(always)]
    fn read(&self) -> *const P::Target {
        // SAFETY: The pointer is valid and aligned; it is written atomically, and read whole.
        unsafe { self.raw.as_ptr().read_volatile() }
    }

    /// Puts `owner` in the place of the current one. Returns that, if there was one.
    pub(crate) fn replace(&self, owner: P) -> Option<Retired<P>> {
        // INVARIANT: It comes from `into_raw`.
        let old = self.raw.xchg(owner.into_raw(), Full);
        if old.is_null() {
            return None;
        }
        // INVARIANT: It is taken out by now.
        Some(Retired {
            grace_period: GracePeriod::begin(),
            // SAFETY: By the invariant it came from `into_raw`, and by the exchange it is ours.
            _owner: unsafe { P::from_raw(old) },
        })
    }
}

impl<P: IntoRaw> Drop for RcuPointer<P> {
    fn drop(&mut self) {
        let raw = self.raw.load(Acquire);
        if !raw.is_null() {
            // SAFETY: By the invariant it came from `into_raw` and is ours. It has no readers: each has a
            // reference to `self`.
            drop(unsafe { P::from_raw(raw) });
        }
    }
}

/// What was replaced. Readers may still follow it: dropping it sleeps until they are out.
///
/// # Invariants
///
/// The pointer has led elsewhere since before `grace_period` began.
pub(crate) struct Retired<P> {
    grace_period: GracePeriod,
    _owner: P,
}

impl<P> Drop for Retired<P> {
    fn drop(&mut self) {
        // The owner goes after this.
        self.grace_period.wait();
    }
}
