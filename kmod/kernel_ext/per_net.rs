// SPDX-License-Identifier: GPL-2.0-only
//! A state for each network namespace, which comes and goes with it.
//!
//! C header: `include/net/net_namespace.h`

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr;

use kernel::bindings as kernel_bindings;
use kernel::error::to_result;
use kernel::prelude::*;

use crate::kernel_ext::bindings;
use crate::kernel_ext::net::Net;

/// The state that belongs to a namespace.
pub(crate) trait PerNet: Sized + Send + Sync + 'static {
    /// The one static that registers the type.
    fn operations() -> &'static PerNetOperations<Self>;

    /// # Safety
    ///
    /// `net` outlives the state.
    unsafe fn new(net: &Net) -> impl PinInit<Self>;

    /// The namespace, or the module, is about to go. A grace period follows before [`Self::exit`].
    fn pre_exit(&self);

    /// It goes: nobody else has a reference to the state, which is dropped after this.
    fn exit(&self);
}

/// The kernel's record of a type of state: `struct pernet_operations`. It lives in a static.
pub(crate) struct PerNetOperations<T> {
    operations: UnsafeCell<kernel_bindings::pernet_operations>,
    /// Which of a namespace's slots is ours: 0 until the kernel says.
    id: UnsafeCell<u32>,
    _state: PhantomData<T>,
}

// SAFETY: The kernel uses the operations, under the locks that it has for that. It writes `id` while it
// registers them, before anybody here reads it.
unsafe impl<T: Sync> Sync for PerNetOperations<T> {}

impl<T: PerNet> PerNetOperations<T> {
    pub(crate) const fn new() -> Self {
        PerNetOperations {
            operations: UnsafeCell::new(kernel_bindings::pernet_operations {
                init: Some(init::<T>),
                pre_exit: Some(pre_exit::<T>),
                exit: Some(exit::<T>),
                size: size_of::<*mut T>(),
                ..pin_init::zeroed()
            }),
            id: UnsafeCell::new(0),
            _state: PhantomData,
        }
    }

    /// Gives each namespace a state, until the result is dropped.
    ///
    /// # Safety
    ///
    /// Called once, and nobody calls [`Self::get`] before it has returned.
    pub(crate) unsafe fn register(&'static self) -> Result<PerNetRegistration> {
        let operations = self.operations.get();
        // SAFETY: By the contract nobody else has heard of them yet.
        unsafe { (*operations).id = self.id.get() };
        // SAFETY: The operations are valid and static, and by the contract not registered.
        to_result(unsafe { kernel_bindings::register_pernet_subsys(operations) })?;
        // INVARIANT: They were just registered.
        Ok(PerNetRegistration(operations))
    }

    /// The state of `net`; none while the operations are not registered.
    ///
    /// # Safety
    ///
    /// Neither the namespace goes during `'a`, nor the registration.
    pub(crate) unsafe fn get<'a>(&'static self, net: &'a Net) -> Option<&'a T> {
        // SAFETY: The slot holds null, or the box of `init`, which goes in `exit`: by the contract not
        // during `'a`.
        unsafe { (*self.slot(net)?).cast::<T>().as_ref() }
    }

    /// Where `net` keeps our pointer, if the operations are registered.
    fn slot(&'static self, net: &Net) -> Option<*mut *mut c_void> {
        // SAFETY: The kernel writes the id while it registers the operations, before it calls any of
        // them and before `register` returns, and not after that.
        let id = unsafe { self.id.get().read() };
        if id == 0 {
            return None;
        }
        // SAFETY: `net` lives, and the kernel gave out the id, for which each namespace has a slot.
        Some(unsafe { bindings::nf_wasm_net_slot(net.as_raw(), id) })
    }
}

/// Operations that are registered. Dropping it ends the state of every namespace.
///
/// # Invariants
///
/// The operations are registered.
pub(crate) struct PerNetRegistration(*mut kernel_bindings::pernet_operations);

// SAFETY: Any thread may unregister them.
unsafe impl Send for PerNetRegistration {}
// SAFETY: Shared, it has no use.
unsafe impl Sync for PerNetRegistration {}

impl Drop for PerNetRegistration {
    fn drop(&mut self) {
        // SAFETY: By the invariant they are registered.
        unsafe { bindings::unregister_pernet_subsys(self.0) };
    }
}

/// A namespace is new, or the module is.
///
/// # Safety
///
/// Called by the kernel, once for each namespace, which outlives the call of [`exit`].
unsafe extern "C" fn init<T: PerNet>(net: *mut kernel_bindings::net) -> i32 {
    // SAFETY: The kernel says that it lives.
    let net = unsafe { Net::from_raw(net) };
    // SAFETY: `exit` frees the state before `net` goes.
    let state = unsafe { T::new(net) };
    let state = match KBox::pin_init(state, GFP_KERNEL_ACCOUNT) {
        Ok(state) => state,
        Err(error) => return error.to_errno(),
    };
    let Some(slot) = T::operations().slot(net) else {
        return ENODEV.to_errno();
    };
    // SAFETY: Nobody looks at the slot before this returns. The box is taken back in `exit`, and nothing
    // moves it until then.
    unsafe { *slot = KBox::into_raw(Pin::into_inner_unchecked(state)).cast() };
    0
}

/// A namespace, or the module, is about to go. A grace period follows before [`exit`].
///
/// # Safety
///
/// Called by the kernel, once for each namespace that has a state.
unsafe extern "C" fn pre_exit<T: PerNet>(net: *mut kernel_bindings::net) {
    // SAFETY: The kernel says that it lives.
    let net = unsafe { Net::from_raw(net) };
    // SAFETY: The namespace and the registration go after `exit`, which comes after this.
    if let Some(state) = unsafe { T::operations().get(net) } {
        state.pre_exit();
    }
}

/// A namespace, or the module, goes.
///
/// # Safety
///
/// Called by the kernel, once for each namespace that has a state, a grace period after [`pre_exit`].
/// Nobody looks for the state any more: no task and no device is in a namespace that goes. Where the module
/// goes, what calls into it went before.
unsafe extern "C" fn exit<T: PerNet>(net: *mut kernel_bindings::net) {
    // SAFETY: The kernel says that it lives.
    let net = unsafe { Net::from_raw(net) };
    let Some(slot) = T::operations().slot(net) else {
        return;
    };
    // SAFETY: By the contract nobody else looks at the slot.
    let state = unsafe { core::mem::replace(&mut *slot, ptr::null_mut()) };
    if state.is_null() {
        return;
    }
    // SAFETY: The pointer came from a box in `init`, and by the contract nobody else has it any more. The
    // box was pinned, and is not moved out of.
    let state = unsafe { Pin::new_unchecked(KBox::from_raw(state.cast::<T>())) };
    state.exit();
}
