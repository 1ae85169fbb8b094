// SPDX-License-Identifier: GPL-2.0-only
//! Hook functions that are registered with netfilter, and their data.
//!
//! C header: `include/linux/netfilter.h`
//!
//! Netfilter calls a hook function with a pointer to its owner's data. After the hook is
//! unregistered, a packet may still be inside, until a grace period is over. The same holds after a
//! registration that *failed*: for `NFPROTO_INET`, `nf_register_net_hook()` registers the hook with
//! IPv4, then with IPv6. If the latter fails, it unregisters the hook from IPv4 again, and does not
//! wait for the packets that entered meanwhile.

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

/// The place of a hook function.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// One of the `NFPROTO_*`.
    pub(crate) family: u8,
    pub(crate) hook: u32,
    /// Functions with lower numbers are called earlier.
    pub(crate) priority: i32,
    /// Null unless the family is `NFPROTO_NETDEV`.
    pub(crate) device: *const NetDevice,
}

/// The hook function, from `packet/hook.c`. Netfilter calls it with a pointer to a registration's
/// data.
#[derive(Clone, Copy)]
pub(crate) enum Function {
    /// For the IP families, whose packets begin with their network header.
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

/// Netfilter has the address of `ops`, and the hook function has that of `data`.
#[pin_data]
struct Hook<T> {
    data: T,
    #[pin]
    ops: Opaque<bindings::nf_hook_ops>,
}

enum State {
    /// Not passed to netfilter yet.
    New,
    Registered(*mut kernel_bindings::net),
    /// The hook was unregistered, or its registration failed. No packet is inside when this is
    /// over.
    Left(GracePeriod),
}

/// A hook function's registration, with the function's data.
///
/// Dropping it unregisters the hook, and sleeps until no packet is inside. To drop many, unregister
/// all of them first: then only the first drop waits.
///
/// # Invariants
///
/// In the state `Registered`, the hook is registered in that namespace, which is alive. In the
/// state `Left`, it is not registered, and has not been since before the grace period began. From
/// the first attempt to register it until that grace period is over, `hook` is neither moved nor
/// freed nor borrowed mutably, and netfilter may read `ops`.
pub(crate) struct HookRegistration<T: Send + Sync> {
    hook: Pin<KBox<Hook<T>>>,
    state: State,
}

// SAFETY: By the bound any thread may use and drop the data. Netfilter registers and unregisters
// hooks from any thread, under its own lock. `net` is only passed to it.
unsafe impl<T: Send + Sync> Send for HookRegistration<T> {}
// SAFETY: `&HookRegistration` gives `&T`, which by the bound threads may share; the state is only
// read.
unsafe impl<T: Send + Sync> Sync for HookRegistration<T> {}

impl<T: Send + Sync> HookRegistration<T> {
    /// A hook that is not registered yet.
    pub(crate) fn new(data: T) -> Result<Self> {
        let hook = KBox::pin_init(
            try_pin_init!(Hook {
                data,
                ops <- Opaque::ffi_init(|slot: *mut bindings::nf_hook_ops| {
                    // SAFETY: `slot` is valid for writes of one `nf_hook_ops`. All zeros is a valid
                    // one, because its pointers may be null.
                    unsafe { slot.write_bytes(0, 1) };
                }),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        // INVARIANT: No other code has the hook's address.
        Ok(HookRegistration {
            hook,
            state: State::New,
        })
    }

    /// The data, for its owner to change before the first attempt to register the hook.
    pub(crate) fn data_mut(&mut self) -> Option<&mut T> {
        match self.state {
            State::New => Some(self.hook.as_mut().project().data),
            State::Registered(_) | State::Left(_) => None,
        }
    }

    /// Registers the hook in `net`, which lets packets in. If this fails, packets may be inside
    /// nevertheless, until [`Self::has_left`]. Returns `EBUSY` if this was called before.
    ///
    /// # Safety
    ///
    /// `net` lives until [`Self::unregister`] returns or the registration is dropped.
    /// `place.device` is null, or registered in `net` for as long. Netfilter may call `function`
    /// with a pointer to the data, on any number of CPUs at once, and `function` takes the pointer
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
        // SAFETY: In the state `New` no other code has the address of `ops`. It is behind an
        // `Opaque`, so it may be written through a shared reference.
        unsafe {
            (*ops).hook = Some(function.in_c());
            (*ops).priv_ = data.cast();
            (*ops).dev = place.device.cast_mut().cast();
            (*ops).pf = place.family;
            (*ops).hooknum = place.hook;
            (*ops).priority = place.priority;
        }
        // SAFETY: By the contract `net` and the device live. `ops` is filled in. The invariants
        // keep it and the data in place until the hook is unregistered and a grace period is over,
        // even if this fails. By the contract the function may be called with the data, and by `T:
        // Sync` CPUs may share it.
        match to_result(unsafe { bindings::nf_register_net_hook(net.as_raw(), ops) }) {
            Ok(()) => {
                // INVARIANT: It was just registered.
                self.state = State::Registered(net.as_raw());
                Ok(())
            }
            Err(error) => {
                // INVARIANT: Netfilter has unregistered everything that it had registered.
                self.state = State::Left(GracePeriod::begin());
                Err(error)
            }
        }
    }

    /// Unregisters the hook, if it is registered: lets no more packets in. Some may still be
    /// inside, until [`Self::has_left`]. Does not wait for them, but may sleep.
    pub(crate) fn unregister(&mut self) {
        let State::Registered(net) = self.state else {
            return;
        };
        // SAFETY: By the invariant `ops` is registered in `net`, which is alive. Its device is
        // alive too, by the contract of `register`.
        unsafe { bindings::nf_unregister_net_hook(net, self.hook.ops.get()) };
        // INVARIANT: It is unregistered.
        self.state = State::Left(GracePeriod::begin());
    }

    /// Whether the hook lets packets in.
    pub(crate) fn is_registered(&self) -> bool {
        matches!(self.state, State::Registered(_))
    }

    /// Whether no packet is inside, and none can enter: then a drop does not wait.
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
            // The hook is freed after this.
            grace_period.wait();
        }
    }
}
