// SPDX-License-Identifier: GPL-2.0-only
//! CPUs that come online and go offline.
//!
//! C header: `include/linux/cpuhotplug.h`

use core::marker::PhantomData;

use kernel::error::to_result;
use kernel::prelude::*;

use crate::kernel_ext::bindings;

/// What wants to know of CPUs. Called in process context, with CPU hotplug locked.
pub(crate) trait CpuEvents {
    /// The CPU with number `cpu` is about to come online. An error keeps it offline.
    ///
    /// # Safety
    ///
    /// The CPU does not run; or this is called during [`HotplugRegistration::new`], which calls it for
    /// each CPU that is online.
    unsafe fn prepare(cpu: usize) -> Result;

    /// The CPU is gone. `is_suspend` says that it comes back with the same numbers and memory.
    ///
    /// # Safety
    ///
    /// The CPU does not run.
    unsafe fn is_dead(cpu: usize, is_suspend: bool);
}

/// Has `T` told of CPUs until it is dropped. Nobody is told of the CPUs that are online then.
///
/// # Invariants
///
/// `state` is one that the kernel gave out for `T`.
pub(crate) struct HotplugRegistration<T> {
    state: i32,
    _events: PhantomData<T>,
}

impl<T: CpuEvents> HotplugRegistration<T> {
    /// Calls [`CpuEvents::prepare`] for each CPU that is online, then for those that come.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The callbacks are as the C half describes them; they belong to this module, and are
        // taken back in `drop`.
        let state = unsafe { bindings::nf_wasm_cpus_watch(Some(prepare::<T>), Some(dead::<T>)) };
        to_result(state)?;
        // INVARIANT: The kernel just gave it out.
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

/// A CPU is about to come online.
///
/// # Safety
///
/// Called by the kernel, in process context, while the CPU does not run; or in
/// [`HotplugRegistration::new`].
unsafe extern "C" fn prepare<T: CpuEvents>(cpu: u32) -> i32 {
    // SAFETY: By the contract.
    match unsafe { T::prepare(cpu as usize) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// A CPU is gone.
///
/// # Safety
///
/// Called by the kernel, in process context, when the CPU no longer runs.
unsafe extern "C" fn dead<T: CpuEvents>(cpu: u32) -> i32 {
    // SAFETY: This is the callback during which the kernel says so, and only reads.
    let is_suspend = unsafe { bindings::nf_wasm_cpus_suspend() };
    // SAFETY: By the contract the CPU does not run.
    unsafe { T::is_dead(cpu as usize, is_suspend) };
    0
}
