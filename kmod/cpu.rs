// SPDX-License-Identifier: GPL-2.0-only
//! One CPU's packet path, and data of which every CPU has its own.

use core::ffi::c_void;
use core::mem::ManuallyDrop;

use kernel::prelude::*;
use kernel::types::NotThreadSafe;

use crate::bindings;

/// Evidence that the caller is alone with this CPU's packet path.
///
/// # Invariants
///
/// While it exists bottom halves are off and, on PREEMPT_RT, the CPU's lock is held; `number` is that
/// of the CPU that the caller is on and stays on.
pub(crate) struct Cpu {
    number: usize,
    _here: NotThreadSafe,
}

impl Cpu {
    /// Waits for nobody but, on PREEMPT_RT, the packet path that it preempted. Not for hard
    /// interrupts.
    pub(crate) fn enter() -> Self {
        // INVARIANT: The CPU was just entered.
        Cpu {
            // SAFETY: Netfilter hooks and ioctls run outside of hard interrupts.
            number: unsafe { bindings::nf_wasm_cpu_enter() },
            _here: NotThreadSafe,
        }
    }

    /// For a CPU that `hook.c` has entered and leaves.
    ///
    /// # Safety
    ///
    /// The invariants hold for `number` until the caller returns.
    #[inline(always)]
    pub(crate) unsafe fn entered(number: usize) -> ManuallyDrop<Self> {
        // INVARIANT: By the contract.
        ManuallyDrop::new(Cpu {
            number,
            _here: NotThreadSafe,
        })
    }

    /// The same, for who does not know the number any more.
    ///
    /// # Safety
    ///
    /// The invariants hold for the CPU that the caller is on, until it returns.
    pub(crate) unsafe fn entered_here() -> ManuallyDrop<Self> {
        // SAFETY: By the contract.
        unsafe { Self::entered(bindings::nf_wasm_cpu_number()) }
    }

    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Says which region allocations are served from; returns the one before.
    pub(crate) fn set_region(&self, region: *mut c_void) -> *mut c_void {
        // SAFETY: By the invariant the CPU was entered.
        unsafe { bindings::nf_wasm_cpu_set_region(region) }
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
///
/// # Invariants
///
/// There are as many as [`cpu_ids`] says.
pub(crate) struct PerCpu<T>(KVec<T>);

impl<T> PerCpu<T> {
    /// Makes each with `make`.
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Result<Self> {
        const { assert!(align_of::<T>() >= CACHE_LINE) };
        let mut all = KVec::with_capacity(cpu_ids(), GFP_KERNEL)?;
        for _ in 0..cpu_ids() {
            all.push(make(), GFP_KERNEL)?;
        }
        // INVARIANT: One was pushed for each.
        Ok(PerCpu(all))
    }

    /// This CPU's.
    #[inline(always)]
    pub(crate) fn here(&self, cpu: &Cpu) -> &T {
        // SAFETY: CPU numbers are below `nr_cpu_ids`, and of as many `new` made one each.
        unsafe { self.0.get_unchecked(cpu.number()) }
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
