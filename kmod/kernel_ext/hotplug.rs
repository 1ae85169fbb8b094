// SPDX-License-Identifier: GPL-2.0-only
//! Callbacks for CPUs that come online and go offline.
//!
//! C header: `include/linux/cpuhotplug.h`

use core::marker::PhantomData;

use kernel::error::to_result;
use kernel::prelude::*;

use crate::kernel_ext::bindings;

/// Callbacks for CPU hotplug. Called in process context, with CPU hotplug locked.
pub(crate) trait CpuEvents {
    /// The CPU with number `cpu` is about to come online. An error keeps it offline.
    ///
    /// # Safety
    ///
    /// The CPU does not run, or this is called from [`HotplugRegistration::new`], which calls it
    /// for each CPU that is online.
    unsafe fn prepare(cpu: usize) -> Result;

    /// The CPU is dead. With `is_suspend`, it comes back after the suspend with the same number,
    /// and what was allocated for it can stay.
    ///
    /// # Safety
    ///
    /// The CPU does not run, or [`HotplugRegistration::new`] fails.
    unsafe fn is_dead(cpu: usize, is_suspend: bool);
}

/// Calls `T`'s callbacks until it is dropped. The drop itself calls none.
///
/// # Invariants
///
/// The kernel allocated `state` for `T`.
pub(crate) struct HotplugRegistration<T> {
    state: i32,
    _events: PhantomData<T>,
}

impl<T: CpuEvents> HotplugRegistration<T> {
    /// Calls [`CpuEvents::prepare`] for each CPU that is online, and from then on for each that
    /// comes online.
    ///
    /// # Safety
    ///
    /// What `T` prepares is not in use on any CPU before this returns.
    pub(crate) unsafe fn new() -> Result<Self> {
        // SAFETY: The callbacks do what the C half requires. They are functions of this kernel
        // module, and are unregistered in `drop`.
        let state = unsafe { bindings::nf_wasm_cpus_watch(Some(prepare::<T>), Some(dead::<T>)) };
        to_result(state)?;
        // INVARIANT: The kernel has just allocated it.
        Ok(HotplugRegistration {
            state,
            _events: PhantomData,
        })
    }
}

impl<T> Drop for HotplugRegistration<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariant the state is ours.
        unsafe { bindings::nf_wasm_cpus_unwatch(self.state) };
    }
}

/// The hotplug callback before a CPU comes online.
///
/// # Safety
///
/// Called by the kernel, in process context, while the CPU does not run, or in
/// [`HotplugRegistration::new`].
unsafe extern "C" fn prepare<T: CpuEvents>(cpu: u32) -> i32 {
    // SAFETY: By the contract.
    match unsafe { T::prepare(cpu as usize) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// The hotplug callback after a CPU has died.
///
/// # Safety
///
/// Called by the kernel, in process context, when the CPU no longer runs.
unsafe extern "C" fn dead<T: CpuEvents>(cpu: u32) -> i32 {
    // SAFETY: This only reads, and during this callback the kernel keeps the value valid.
    let is_suspend = unsafe { bindings::nf_wasm_cpus_suspend() };
    // SAFETY: By the contract the CPU does not run.
    unsafe { T::is_dead(cpu as usize, is_suspend) };
    0
}
