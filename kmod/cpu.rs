// SPDX-License-Identifier: GPL-2.0-only
//! One CPU's packet path, and data of which every CPU has its own.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use kernel::prelude::*;
use kernel::types::NotThreadSafe;

use crate::bindings;

/// Evidence that the caller is alone with this CPU's packet path.
///
/// # Invariants
///
/// While it exists bottom halves are off and, on PREEMPT_RT, the CPU's lock is held; `path` is that
/// of the CPU that the caller is on and stays on.
pub(crate) struct Cpu {
    path: NonNull<bindings::nf_wasm_path>,
    _here: NotThreadSafe,
}

impl Cpu {
    /// Waits for nobody but, on PREEMPT_RT, the packet path that it preempted. Not for hard
    /// interrupts.
    pub(crate) fn enter() -> Self {
        // SAFETY: Netfilter hooks and ioctls run outside of hard interrupts.
        let path = unsafe { bindings::nf_wasm_cpu_enter() };
        // INVARIANT: The CPU was just entered.
        Cpu {
            // SAFETY: A per-CPU variable is at no null address.
            path: unsafe { NonNull::new_unchecked(path) },
            _here: NotThreadSafe,
        }
    }

    #[inline(always)]
    fn index(&self) -> usize {
        // SAFETY: By the invariant nobody writes to it.
        unsafe { (*self.path.as_ptr()).cpu as usize }
    }

    /// Says which region allocations are served from; returns the one before.
    #[inline(always)]
    pub(crate) fn set_region(&self, region: *mut c_void) -> *mut c_void {
        // SAFETY: By the invariant only the caller, and what it calls, uses the field.
        unsafe { ptr::replace(&raw mut (*self.path.as_ptr()).region, region) }
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        // SAFETY: By the invariant the CPU was entered, and by its type not on another thread.
        unsafe { bindings::nf_wasm_cpu_leave() };
    }
}

/// Bytes of a cache line, which CPUs do not share without a price; `kernel.c` checks it.
pub(crate) const CACHE_LINE: usize = 64;

/// A `T` for each number that a CPU can have, none on a line with another.
pub(crate) struct PerCpu<T>(KVec<T>);

impl<T> PerCpu<T> {
    /// Makes each with `make`.
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Result<Self> {
        const { assert!(align_of::<T>() >= CACHE_LINE) };
        let mut all = KVec::with_capacity(cpu_ids(), GFP_KERNEL)?;
        for _ in 0..cpu_ids() {
            all.push(make(), GFP_KERNEL)?;
        }
        Ok(PerCpu(all))
    }

    /// This CPU's. None only if the kernel runs on a CPU that it calls impossible.
    pub(crate) fn get(&self, cpu: &Cpu) -> Option<&T> {
        self.0.get(cpu.index())
    }

    /// That of the CPU with number `cpu`.
    pub(crate) fn of(&self, cpu: usize) -> Option<&T> {
        self.0.get(cpu)
    }

    /// Every CPU's.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

/// CPU numbers are below this.
pub(crate) fn cpu_ids() -> usize {
    // SAFETY: Written once, during boot.
    unsafe { kernel::bindings::nr_cpu_ids as usize }
}

/// How many CPUs there can be.
pub(crate) fn possible_cpus() -> usize {
    (0..cpu_ids())
        // SAFETY: Only reads the mask of possible CPUs.
        .filter(|&cpu| unsafe { bindings::nf_wasm_cpu_possible(cpu as u32) })
        .count()
}
