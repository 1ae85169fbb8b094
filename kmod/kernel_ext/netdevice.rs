// SPDX-License-Identifier: GPL-2.0-only
//! Network devices, and notifications of their changes.
//!
//! C header: `include/linux/netdevice.h`

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;

use kernel::bindings as kernel_bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::types::Opaque;

use crate::kernel_ext::bindings;
use crate::kernel_ext::net::Net;

/// Bytes of a device's name, with NUL: `IFNAMSIZ`.
pub(crate) const NAME_LEN: usize = kernel_bindings::IFNAMSIZ as usize;

/// A network device: `struct net_device`.
///
/// # Invariants
///
/// A reference is to a device that is not freed while the reference exists.
#[repr(transparent)]
pub(crate) struct NetDevice(Opaque<kernel_bindings::net_device>);

impl NetDevice {
    /// Borrows a device.
    ///
    /// # Safety
    ///
    /// `device` points to a device that is not freed during `'a`.
    unsafe fn from_raw<'a>(device: *mut kernel_bindings::net_device) -> &'a Self {
        // INVARIANT: By the contract.
        // SAFETY: The layout is that of `struct net_device`, and by the contract the pointer is
        // valid for `'a`.
        unsafe { &*device.cast() }
    }

    /// Calls `f` with the device of this name in `net`. Holds a reference to the device meanwhile.
    pub(crate) fn with_name<R>(net: &Net, name: &CStr, f: impl FnOnce(&Self) -> R) -> Option<R> {
        // SAFETY: The namespace is valid by its type, and the name ends with NUL.
        let device = unsafe { bindings::dev_get_by_name(net.as_raw(), name.as_char_ptr()) };
        if device.is_null() {
            return None;
        }
        // SAFETY: We have a reference, which is dropped below.
        let result = f(unsafe { Self::from_raw(device) });
        // SAFETY: We took the reference above.
        unsafe { bindings::nf_wasm_dev_put(device) };
        Some(result)
    }

    fn as_raw(&self) -> *mut kernel_bindings::net_device {
        self.0.get()
    }

    /// Whether it is registered, and its unregistration has not begun.
    pub(crate) fn is_registered(&self) -> bool {
        // SAFETY: By the invariant the device is valid. The state is read once.
        unsafe { bindings::nf_wasm_dev_registered(self.as_raw()) }
    }

    /// Its number. It changes, with RTNL held, if the device moves to another namespace.
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: By the invariant the device is valid.
        unsafe { bindings::nf_wasm_dev_ifindex(self.as_raw()) }
    }

    /// Copies its name. If the device is being renamed, the copy may have parts of both names.
    pub(crate) fn copy_name(&self, to: &mut [u8; NAME_LEN]) {
        // SAFETY: By the invariant the device is valid, and `to` has room for `IFNAMSIZ` bytes.
        unsafe { bindings::nf_wasm_dev_name(self.as_raw(), to.as_mut_ptr().cast()) };
    }

    /// The network namespace that it is in.
    ///
    /// # Safety
    ///
    /// RTNL is held while the result is used: with it the device stays in its namespace.
    unsafe fn net(&self) -> &Net {
        // SAFETY: By the invariant the device is valid. A namespace outlives its devices, and by the
        // contract this one does not leave it.
        unsafe { Net::from_raw(bindings::nf_wasm_dev_net(self.as_raw())) }
    }
}

/// Callbacks for changes of devices. Called with RTNL held.
pub(crate) trait DeviceEvents {
    /// The device leaves its network namespace `net`: it is unregistered or moved, or the notifier
    /// is unregistered. It does not leave before this returns.
    fn leaves(device: &NetDevice, net: &Net);
    /// The device in `net` was renamed.
    fn is_renamed(device: &NetDevice, net: &Net);
}

/// A notifier: `struct notifier_block`. It is in a static.
#[repr(transparent)]
pub(crate) struct DeviceNotifier<T>(UnsafeCell<kernel_bindings::notifier_block>, PhantomData<T>);

// SAFETY: Only the kernel uses the block, under its own lock.
unsafe impl<T> Sync for DeviceNotifier<T> {}

impl<T: DeviceEvents> DeviceNotifier<T> {
    pub(crate) const fn new() -> Self {
        let block = kernel_bindings::notifier_block {
            notifier_call: Some(notify::<T>),
            ..pin_init::zeroed()
        };
        DeviceNotifier(UnsafeCell::new(block), PhantomData)
    }

    /// Calls `T`'s callbacks from now on, for all devices, until the result is dropped.
    ///
    /// # Safety
    ///
    /// It is not registered.
    pub(crate) unsafe fn register(&'static self) -> Result<NotifierRegistration> {
        // SAFETY: The block is valid and static, and by the contract not registered.
        to_result(unsafe { bindings::register_netdevice_notifier(self.0.get()) })?;
        // INVARIANT: It was just registered.
        Ok(NotifierRegistration(self.0.get()))
    }
}

/// A registered notifier. Dropping it unregisters it, and waits for callbacks in progress.
///
/// # Invariants
///
/// The block is registered.
pub(crate) struct NotifierRegistration(*mut kernel_bindings::notifier_block);

// SAFETY: Any thread may unregister a notifier.
unsafe impl Send for NotifierRegistration {}
// SAFETY: A shared reference to it permits nothing.
unsafe impl Sync for NotifierRegistration {}

impl Drop for NotifierRegistration {
    fn drop(&mut self) {
        // SAFETY: By the invariant it is registered, so this cannot fail.
        unsafe { bindings::unregister_netdevice_notifier(self.0) };
    }
}

/// The notifier callback.
///
/// # Safety
///
/// Called by the kernel with RTNL held and a valid `info`.
unsafe extern "C" fn notify<T: DeviceEvents>(
    _block: *mut kernel_bindings::notifier_block,
    event: usize,
    info: *mut c_void,
) -> i32 {
    // SAFETY: They are constants of the C half.
    let (leaves, is_renamed) = unsafe {
        (
            event == bindings::nf_wasm_netdev_unregister,
            event == bindings::nf_wasm_netdev_changename,
        )
    };
    if leaves || is_renamed {
        // SAFETY: `info` names a device that is valid during the call.
        let device = unsafe { NetDevice::from_raw(bindings::nf_wasm_notifier_dev(info)) };
        // SAFETY: By the contract RTNL is held.
        let net = unsafe { device.net() };
        match leaves {
            true => T::leaves(device, net),
            false => T::is_renamed(device, net),
        }
    }
    kernel_bindings::NOTIFY_DONE as i32
}
