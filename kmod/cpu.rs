// SPDX-License-Identifier: GPL-2.0-only
//! One CPU's packet path, and data of which every CPU has its own.

use kernel::prelude::*;
use kernel::types::NotThreadSafe;

use crate::bindings;

/// Evidence that the caller is alone with this CPU's packet path.
///
/// # Invariants
///
/// While it exists bottom halves are off and, on PREEMPT_RT, the CPU's lock is held; `index` is
/// the CPU that the caller is on and stays on.
pub(crate) struct Cpu {
    index: usize,
    _here: NotThreadSafe,
}

impl Cpu {
    /// Waits for nobody but, on PREEMPT_RT, the packet path that it preempted. Not for hard
    /// interrupts.
    pub(crate) fn enter() -> Self {
        // SAFETY: Netfilter hooks and ioctls run outside of hard interrupts.
        let index = unsafe { bindings::nf_wasm_cpu_enter() } as usize;
        // INVARIANT: The CPU was just entered.
        Cpu {
            index,
            _here: NotThreadSafe,
        }
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        // SAFETY: By the invariant the CPU was entered, and by its type not on another thread.
        unsafe { bindings::nf_wasm_cpu_leave() };
    }
}

/// A `T` for each number that a CPU can have.
pub(crate) struct PerCpu<T>(KVec<T>);

impl<T> PerCpu<T> {
    /// Makes each with `make`.
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Result<Self> {
        let mut all = KVec::with_capacity(cpu_ids(), GFP_KERNEL)?;
        for _ in 0..cpu_ids() {
            all.push(make(), GFP_KERNEL)?;
        }
        Ok(PerCpu(all))
    }

    /// This CPU's. None only if the kernel runs on a CPU that it calls impossible.
    pub(crate) fn get(&self, cpu: &Cpu) -> Option<&T> {
        self.0.get(cpu.index)
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
