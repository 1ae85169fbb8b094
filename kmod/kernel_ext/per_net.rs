// SPDX-License-Identifier: GPL-2.0-only
//! State for each network namespace, made and freed with it.
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

/// The state of a network namespace.
pub(crate) trait PerNet: Sized + Send + Sync + 'static {
    /// The static that registers this type.
    fn operations() -> &'static PerNetOperations<Self>;

    /// # Safety
    ///
    /// `net` outlives the state.
    unsafe fn new(net: &Net) -> impl PinInit<Self>;

    /// The network namespace is being freed, or the kernel module unloaded. A grace period follows,
    /// then [`Self::exit`].
    fn pre_exit(&self);

    /// The state is dropped after this. There is no other reference to it.
    fn exit(&self);
}

/// A type of per-namespace state: `struct pernet_operations`. It is in a static.
pub(crate) struct PerNetOperations<T> {
    operations: UnsafeCell<kernel_bindings::pernet_operations>,
    /// Number of our slot in each namespace; 0 until the kernel has allocated it.
    id: UnsafeCell<u32>,
    _state: PhantomData<T>,
}

// SAFETY: The kernel uses the operations under its own locks. It writes `id` while it registers
// them, before any code here reads it.
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

    /// Makes a state for each namespace. The states are freed when the result is dropped.
    ///
    /// # Safety
    ///
    /// Called once, on `T::operations()`. [`Self::get`] is not called before this has returned.
    pub(crate) unsafe fn register(&'static self) -> Result<PerNetRegistration> {
        let operations = self.operations.get();
        // SAFETY: By the contract no other code uses them yet.
        unsafe { (*operations).id = self.id.get() };
        // SAFETY: The operations are valid and static, and by the contract not registered.
        let registered = to_result(unsafe { kernel_bindings::register_pernet_subsys(operations) });
        registered.inspect_err(|_| {
            // SAFETY: The kernel does not use the id any more, and by the contract no other code
            // reads it.
            unsafe { self.id.get().write(0) }
        })?;
        // INVARIANT: They were just registered.
        Ok(PerNetRegistration(operations))
    }

    /// The state of `net`; `None` while the operations are not registered.
    ///
    /// # Safety
    ///
    /// Neither the namespace nor the registration ends during `'a`.
    pub(crate) unsafe fn get<'a>(&'static self, net: &'a Net) -> Option<&'a T> {
        // SAFETY: The slot holds null, or the box of `init`, which is freed in `exit`: by the
        // contract not during `'a`.
        unsafe { (*self.slot(net)?).cast::<T>().as_ref() }
    }

    /// The slot of `net` for our pointer, if the operations are registered.
    fn slot(&'static self, net: &Net) -> Option<*mut *mut c_void> {
        // SAFETY: The kernel writes the id while it registers the operations, before it calls any
        // of them and before `register` returns. It is written again only after they are
        // unregistered.
        let id = unsafe { self.id.get().read() };
        if id == 0 {
            return None;
        }
        // SAFETY: `net` is alive. The kernel allocated the id, so each namespace has a slot for it.
        Some(unsafe { bindings::nf_wasm_net_slot(net.as_raw(), id) })
    }
}

/// Registered operations. Dropping it frees the state of every namespace.
///
/// # Invariants
///
/// The operations are registered.
pub(crate) struct PerNetRegistration(*mut kernel_bindings::pernet_operations);

// SAFETY: Any thread may unregister them.
unsafe impl Send for PerNetRegistration {}
// SAFETY: A shared reference to it permits nothing.
unsafe impl Sync for PerNetRegistration {}

impl Drop for PerNetRegistration {
    fn drop(&mut self) {
        // SAFETY: By the invariant they are registered. After that the kernel does not use the id,
        // and by the contract of `get` no other code reads it.
        unsafe {
            bindings::unregister_pernet_subsys(self.0);
            (*self.0).id.write(0);
        }
    }
}

/// Called for each new namespace, and for each existing one during the registration.
///
/// # Safety
///
/// Called by the kernel, once for each namespace, which is not freed before [`exit`] returns.
unsafe extern "C" fn init<T: PerNet>(net: *mut kernel_bindings::net) -> i32 {
    // SAFETY: The kernel guarantees that it is alive.
    let net = unsafe { Net::from_raw(net) };
    // SAFETY: `exit` frees the state before `net` is freed.
    let state = unsafe { T::new(net) };
    let state = match KBox::pin_init(state, GFP_KERNEL_ACCOUNT) {
        Ok(state) => state,
        Err(error) => return error.to_errno(),
    };
    let Some(slot) = T::operations().slot(net) else {
        return ENODEV.to_errno();
    };
    // SAFETY: No other code accesses the slot before this returns. `exit` takes the box back, and
    // nothing moves its content until then.
    unsafe { *slot = KBox::into_raw(Pin::into_inner_unchecked(state)).cast() };
    0
}

/// The namespace is being freed, or the kernel module unloaded. A grace period follows, then
/// [`exit`].
///
/// # Safety
///
/// Called by the kernel, once for each namespace that has a state.
unsafe extern "C" fn pre_exit<T: PerNet>(net: *mut kernel_bindings::net) {
    // SAFETY: The kernel guarantees that it is alive.
    let net = unsafe { Net::from_raw(net) };
    // SAFETY: The namespace and the registration end after `exit`, which comes after this.
    if let Some(state) = unsafe { T::operations().get(net) } {
        state.pre_exit();
    }
}

/// The namespace is being freed, or the kernel module unloaded.
///
/// # Safety
///
/// Called by the kernel, once for each namespace that has a state, a grace period after
/// [`pre_exit`]. No code looks up the state any more: no task and no device is in a namespace that
/// is being freed. When the kernel module is unloaded, its users are unregistered first.
unsafe extern "C" fn exit<T: PerNet>(net: *mut kernel_bindings::net) {
    // SAFETY: The kernel guarantees that it is alive.
    let net = unsafe { Net::from_raw(net) };
    let Some(slot) = T::operations().slot(net) else {
        return;
    };
    // SAFETY: By the contract no other code accesses the slot.
    let state = unsafe { core::mem::replace(&mut *slot, ptr::null_mut()) };
    if state.is_null() {
        return;
    }
    // SAFETY: The pointer came from a box in `init`, and by the contract no other code has it any
    // more. The box was pinned, and its content is not moved out.
    let state = unsafe { Pin::new_unchecked(KBox::from_raw(state.cast::<T>())) };
    state.exit();
}
