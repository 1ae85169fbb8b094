// SPDX-License-Identifier: GPL-2.0-only
//! Hooks that are registered with netfilter, and what their functions work on.
//!
//! C header: `include/linux/netfilter.h`
//!
//! Netfilter calls a hook's function with a pointer of the registrant's. It stops to do so some
//! time after the hook was unregistered: a packet that was under way then may still be inside,
//! until a grace period is over. The same holds after a registration that *failed*. For
//! `NFPROTO_INET` `nf_register_net_hook()` registers the hook with IPv4, then with IPv6; where IPv6
//! refuses, it takes the hook back from IPv4 and does not wait for the packets that went in
//! meanwhile.

use core::ops::Deref;
use core::ptr;

use kernel::bindings as kernel_bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::types::Opaque;

use crate::kernel_ext::bindings;
use crate::kernel_ext::grace_period::GracePeriod;
use crate::kernel_ext::net::Net;
use crate::kernel_ext::netdevice::NetDevice;

/// Where a hook is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// One of the `NFPROTO_*`.
    pub(crate) family: u8,
    pub(crate) hook: u32,
    /// Lower ones are called earlier.
    pub(crate) priority: i32,
    /// Null unless the family is `NFPROTO_NETDEV`.
    pub(crate) device: *const NetDevice,
}

/// What netfilter calls, with a pointer to a registration's data: a function of `packet/hook.c`.
#[derive(Clone, Copy)]
pub(crate) enum Function {
    /// For the families of IP, where a packet begins with its network header.
    Ip,
    /// For `NFPROTO_NETDEV`.
    Netdev,
}

impl Function {
    fn in_c(
        self,
    ) -> unsafe extern "C" fn(
        *mut core::ffi::c_void,
        *mut kernel_bindings::sk_buff,
        *const bindings::nf_hook_state,
    ) -> core::ffi::c_uint {
        match self {
            Function::Ip => bindings::nf_wasm_hook,
            Function::Netdev => bindings::nf_wasm_netdev_hook,
        }
    }
}

/// What netfilter and the hook's function have the addresses of.
#[pin_data]
struct Hook<T> {
    data: T,
    #[pin]
    ops: Opaque<bindings::nf_hook_ops>,
}

enum State {
    /// Netfilter has not heard of it.
    New,
    Registered(*mut kernel_bindings::net),
    /// It was unregistered, or half registered for a moment. Packets are out when this is over.
    Left(GracePeriod),
}

/// A hook with the data that its function is given.
///
/// Dropping it unregisters it, and sleeps until no packet is inside of it. To drop many, unregister
/// all of them first: then the first drop waits for all.
///
/// # Invariants
///
/// In the state `Registered` the hook is registered with that namespace, which lives. In the state
/// `Left` it is not, and was not since before the grace period began. From the first attempt to
/// register it until that grace period is over, `hook` is neither moved, nor freed, nor borrowed
/// mutably, and `ops` is netfilter's to read.
pub(crate) struct HookRegistration<T: Send + Sync> {
    hook: Pin<KBox<Hook<T>>>,
    state: State,
}

// SAFETY: The data may be used and dropped by any thread, by the bound. Netfilter registers and
// unregisters hooks from any thread, under a lock of its own. `net` is only handed to it.
unsafe impl<T: Send + Sync> Send for HookRegistration<T> {}
// SAFETY: `&HookRegistration` gives `&T`, which the bound lets threads share; the state is only
// read.
unsafe impl<T: Send + Sync> Sync for HookRegistration<T> {}

impl<T: Send + Sync> HookRegistration<T> {
    /// A hook that is not registered yet.
    pub(crate) fn new(data: T) -> Result<Self> {
        let hook = KBox::pin_init(
            try_pin_init!(Hook {
                data,
                ops <- Opaque::ffi_init(|slot: *mut bindings::nf_hook_ops| {
                    // SAFETY: `slot` is valid for writes of one `nf_hook_ops`, of which all zero is
                    // a valid one: its pointers may be null.
                    unsafe { slot.write_bytes(0, 1) };
                }),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        // INVARIANT: Nobody else has heard of the hook.
        Ok(HookRegistration {
            hook,
            state: State::New,
        })
    }

    /// The data, for who fills it in before the first attempt to register it.
    pub(crate) fn data_mut(&mut self) -> Option<&mut T> {
        match self.state {
            State::New => Some(self.hook.as_mut().project().data),
            State::Registered(_) | State::Left(_) => None,
        }
    }

    /// Has packets of `net` come in. Where that fails, some may have been in nevertheless.
    /// `EBUSY` if that was tried before.
    ///
    /// # Safety
    ///
    /// `net` lives until [`Self::unregister`] returns, or the registration was dropped.
    /// `place.device` is null, or registered in `net` for as long. `function` may be called with a
    /// pointer to the data, as netfilter calls a hook, by any number of CPUs at once, and takes it
    /// for a `&T`.
    pub(crate) unsafe fn register(
        &mut self,
        net: &Net,
        place: &Place,
        function: Function,
    ) -> Result {
        let State::New = self.state else {
            return Err(EBUSY);
        };
        let data = ptr::from_ref(&self.hook.data).cast_mut();
        let ops = self.hook.ops.get();
        // SAFETY: In the state `New` nobody else has heard of `ops`, which is behind an `Opaque`
        // and so may be written through a shared reference.
        unsafe {
            (*ops).hook = Some(function.in_c());
            (*ops).priv_ = data.cast();
            (*ops).dev = place.device.cast_mut().cast();
            (*ops).pf = place.family;
            (*ops).hooknum = place.hook;
            (*ops).priority = place.priority;
        }
        // SAFETY: The caller promises that `net` and the device live. `ops` is filled in, and the
        // invariants keep it and the data in place until they are unregistered and a grace period
        // went by, also if this fails. That the function may be called with the data is the
        // caller's promise; `T: Sync` lets CPUs share it.
        match to_result(unsafe { bindings::nf_register_net_hook(net.as_raw(), ops) }) {
            Ok(()) => {
                // INVARIANT: It was just registered.
                self.state = State::Registered(net.as_raw());
                Ok(())
            }
            Err(error) => {
                // INVARIANT: Netfilter has taken back whatever it had registered.
                self.state = State::Left(GracePeriod::begin());
                Err(error)
            }
        }
    }

    /// Has no more packets come in, if they do. Some may still be inside. Does not wait for them,
    /// but may sleep.
    pub(crate) fn unregister(&mut self) {
        let State::Registered(net) = self.state else {
            return;
        };
        // SAFETY: By the invariant `ops` is registered with `net`, which lives; and its device
        // does, by the promise that was made to `register`.
        unsafe { bindings::nf_unregister_net_hook(net, self.hook.ops.get()) };
        // INVARIANT: It is unregistered.
        self.state = State::Left(GracePeriod::begin());
    }

    /// Whether packets come in.
    pub(crate) fn is_registered(&self) -> bool {
        matches!(self.state, State::Registered(_))
    }

    /// Whether no packet is inside, and none will be: dropping it does not wait.
    pub(crate) fn has_left(&self) -> bool {
        match &self.state {
            State::New => true,
            State::Registered(_) => false,
            State::Left(grace_period) => grace_period.is_over(),
        }
    }
}

impl<T: Send + Sync> Deref for HookRegistration<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.hook.data
    }
}

impl<T: Send + Sync> Drop for HookRegistration<T> {
    fn drop(&mut self) {
        self.unregister();
        if let State::Left(grace_period) = &self.state {
            // The hook goes after this.
            grace_period.wait();
        }
    }
}
