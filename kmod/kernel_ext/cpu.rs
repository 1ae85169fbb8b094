// SPDX-License-Identifier: GPL-2.0-only
//! The packet path of a CPU, and per-CPU data that it guards.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::NonNull;

use kernel::bindings as kernel_bindings;
use kernel::cpu::{nr_cpu_ids, CpuId};
use kernel::cpumask::Cpumask;
use kernel::prelude::*;
use kernel::types::NotThreadSafe;

use crate::kernel_ext::bindings;

/// Evidence that the caller is alone with this CPU's packet path.
///
/// # Invariants
///
/// While it exists bottom halves are off and, on PREEMPT_RT, the CPU's lock is held; `number` is that
/// of the CPU that the caller is on and stays on, a possible one.
pub(crate) struct Cpu {
    number: usize,
    _here: NotThreadSafe,
}

impl Cpu {
    /// For a CPU that `hook.c` has entered and leaves.
    ///
    /// # Safety
    ///
    /// The invariants hold for `number` until the caller returns.
    #[inline(always)]
    pub(crate) unsafe fn entered(number: usize) -> Self {
        // INVARIANT: The contract says so.
        Cpu {
            number,
            _here: NotThreadSafe,
        }
    }

    /// The same, for callers without the CPU number.
    ///
    /// # Safety
    ///
    /// The invariants hold for the CPU that the caller is on, until it returns.
    pub(crate) unsafe fn entered_here() -> Self {
        // SAFETY: The caller stays on its CPU, because bottom halves are off: so the number is that CPU's
        // until it returns, and the rest of the invariants is what the contract says.
        unsafe { Self::entered(CpuId::current().as_u32() as usize) }
    }

    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Sets the region for allocations on this packet path; returns the previous one.
    ///
    /// # Safety
    ///
    /// `region` is null or a [`crate::build::region::Region`], which is valid and used by nobody else until this is
    /// called again.
    pub(crate) unsafe fn set_region(&self, region: *mut c_void) -> *mut c_void {
        // SAFETY: By the invariant the CPU was entered, by this task.
        unsafe { bindings::nf_wasm_cpu_set_region(region) }
    }
}

/// The region of the packet path that the caller is on, or null if it is on none. Any context.
pub(crate) fn packet_region() -> *mut c_void {
    // SAFETY: Callable from any context.
    unsafe { bindings::nf_wasm_packet_region() }
}

/// Bytes of a cache line. `kernel.c` checks the number.
pub(crate) const CACHE_LINE: usize = 64;

/// The largest per-CPU allocation: `PCPU_MIN_UNIT_SIZE`.
const MAX_BYTES: usize = 32 << 10;

/// A `T` for each possible CPU, in the memory that is the CPU's own, on its node.
///
/// # Invariants
///
/// `all` came from `nf_wasm_percpu_alloc` with the layout of `T`, is ours, and of each possible CPU there
/// is a `T` that was initialised.
pub(crate) struct PerCpu<T> {
    all: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: It owns its values, as a box does: that they may be sent is all that it takes.
unsafe impl<T: Send> Send for PerCpu<T> {}
// SAFETY: Shared, it gives out nothing but references to its values.
unsafe impl<T: Sync> Sync for PerCpu<T> {}

impl<T> PerCpu<T> {
    /// Makes each with `make`. Charged to the memory cgroup that is active.
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Result<Self> {
        // No two CPUs' share a line in any case. Here nothing else shares one with them.
        const { assert!(align_of::<T>() >= CACHE_LINE && size_of::<T>() <= MAX_BYTES) };
        // SAFETY: The size is what the kernel hands out at most, or less, and not 0, because it is a
        // multiple of the alignment; that is a power of two below a page.
        let all = unsafe { bindings::nf_wasm_percpu_alloc(size_of::<T>(), align_of::<T>()) };
        let all = NonNull::new(all.cast::<T>()).ok_or(ENOMEM)?;
        for cpu in possible() {
            // SAFETY: Each possible CPU has its own memory of that layout behind `all`, which nobody knows
            // of yet.
            unsafe { place(all, cpu).write(make()) };
        }
        // INVARIANT: It was just allocated, and each possible CPU's was written.
        Ok(PerCpu {
            all,
            _owns: PhantomData,
        })
    }

    /// This CPU's, as long as the caller is on its packet path.
    #[inline(always)]
    pub(crate) fn here<'a>(&'a self, cpu: &'a Cpu) -> &'a T {
        // SAFETY: The CPU is a possible one. By the invariant there is an initialised `T`, which lives as
        // long as `self`, and of which nobody has a mutable reference: none are given out.
        unsafe { &*place(self.all, cpu.number()) }
    }

    /// That of the CPU with number `cpu`, if it is a possible one.
    pub(crate) fn of(&self, cpu: usize) -> Option<&T> {
        // SAFETY: The CPU is a possible one. By the invariant there is an initialised `T`, which lives as
        // long as `self`, and of which nobody has a mutable reference: none are given out.
        is_possible(cpu).then(|| unsafe { &*place(self.all, cpu) })
    }

    /// Every CPU's.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        possible().filter_map(|cpu| self.of(cpu))
    }
}

impl<T> Drop for PerCpu<T> {
    fn drop(&mut self) {
        for cpu in possible() {
            // SAFETY: By the invariant there is a `T`, which is ours, and this is its last use.
            unsafe { place(self.all, cpu).drop_in_place() };
        }
        // SAFETY: By the invariant it came from `nf_wasm_percpu_alloc` and is ours.
        unsafe { bindings::nf_wasm_percpu_free(self.all.as_ptr().cast()) };
    }
}

/// Where a CPU has its own of what `nf_wasm_percpu_alloc` returned: as per_cpu_ptr().
///
/// # Safety
///
/// `cpu` is the number of a possible CPU.
#[inline(always)]
unsafe fn place<T>(all: NonNull<T>, cpu: usize) -> *mut T {
    // SAFETY: The kernel's table has an entry for each possible CPU, and is not written to any more once
    // modules are there.
    let offset = unsafe {
        *(&raw const kernel_bindings::__per_cpu_offset)
            .cast::<usize>()
            .add(cpu)
    };
    all.as_ptr().wrapping_byte_add(offset)
}

fn is_possible(cpu: usize) -> bool {
    // SAFETY: The mask is static, and not written to any more once modules are there.
    let mask = unsafe { Cpumask::from_raw(&raw const kernel_bindings::__cpu_possible_mask) };
    u32::try_from(cpu).is_ok_and(|cpu| CpuId::from_u32(cpu).is_some_and(|cpu| mask.test(cpu)))
}

/// The numbers of those that there can be.
fn possible() -> impl Iterator<Item = usize> {
    (0..nr_cpu_ids() as usize).filter(|&cpu| is_possible(cpu))
}

/// How many CPUs there can be.
pub(crate) fn possible_cpus() -> usize {
    possible().count()
}
