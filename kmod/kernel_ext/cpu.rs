// SPDX-License-Identifier: GPL-2.0-only
//! The packet path of a CPU, and the per-CPU data that it protects.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::NonNull;

use kernel::bindings as kernel_bindings;
use kernel::cpu::{nr_cpu_ids, CpuId};
use kernel::cpumask::Cpumask;
use kernel::prelude::*;
use kernel::types::NotThreadSafe;

use crate::kernel_ext::bindings;

/// Proof that the caller owns this CPU's packet path.
///
/// # Invariants
///
/// While it exists, bottom halves are off and, on PREEMPT_RT, the CPU's lock is held. `offset` is
/// the entry in `__per_cpu_offset` of the CPU that the caller runs on and cannot leave.
pub(crate) struct Cpu {
    offset: usize,
    _here: NotThreadSafe,
}

impl Cpu {
    /// Makes the proof for a CPU whose packet path `hook.c` has entered, and leaves later.
    ///
    /// # Safety
    ///
    /// The invariants hold for `offset` until the caller returns.
    #[inline(always)]
    pub(crate) unsafe fn entered(offset: usize) -> Self {
        // INVARIANT: By the contract.
        Cpu {
            offset,
            _here: NotThreadSafe,
        }
    }

    /// The same, for callers that do not know the offset.
    ///
    /// # Safety
    ///
    /// The invariants hold for the CPU that the caller runs on, until it returns.
    pub(crate) unsafe fn entered_here() -> Self {
        // SAFETY: Bottom halves are off, so the caller stays on its CPU, and the offset is right
        // until it returns. The other invariants hold by the contract.
        unsafe { Self::entered(offset_of_cpu(CpuId::current().as_u32() as usize)) }
    }

    #[inline(always)]
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Sets the region for allocations on this packet path; returns the previous one.
    ///
    /// # Safety
    ///
    /// `region` is null, or a valid [`crate::build::region::Region`] that no other code uses until
    /// this is called again.
    pub(crate) unsafe fn set_region(&self, region: *mut c_void) -> *mut c_void {
        // SAFETY: By the invariant this task has entered the CPU.
        unsafe { bindings::nf_wasm_cpu_set_region(region) }
    }
}

/// The region of the caller's packet path, or null if the caller is not on one. Any context.
pub(crate) fn packet_region() -> *mut c_void {
    // SAFETY: Callable from any context.
    unsafe { bindings::nf_wasm_packet_region() }
}

/// Bytes of a cache line. `hook.c` checks that this is enough.
pub(crate) const CACHE_LINE: usize = 64;

/// The largest per-CPU allocation: `PCPU_MIN_UNIT_SIZE`.
const MAX_BYTES: usize = 32 << 10;

/// A `T` for each possible CPU, in per-CPU memory, which is on the CPU's NUMA node.
///
/// # Invariants
///
/// `all` came from `nf_wasm_percpu_alloc` with the layout of `T`, and is ours. For each possible
/// CPU it has an initialised `T`.
pub(crate) struct PerCpu<T> {
    all: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: It owns its values, as a box does, so it may be sent if they may.
unsafe impl<T: Send> Send for PerCpu<T> {}
// SAFETY: A shared reference to it only gives shared references to its values.
unsafe impl<T: Sync> Sync for PerCpu<T> {}

impl<T> PerCpu<T> {
    /// Initialises each with `make`. Charged to the active memory cgroup.
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Result<Self> {
        // Values of different CPUs never share a cache line. By its alignment, neither do this
        // value and another one of the same CPU.
        const { assert!(align_of::<T>() >= CACHE_LINE && size_of::<T>() <= MAX_BYTES) };
        // SAFETY: The size is at most the kernel's maximum. It is not 0, because it is a multiple
        // of the alignment, which is a power of two less than a page.
        let all = unsafe { bindings::nf_wasm_percpu_alloc(size_of::<T>(), align_of::<T>()) };
        let all = NonNull::new(all.cast::<T>()).ok_or(ENOMEM)?;
        for cpu in possible() {
            // SAFETY: Each possible CPU has its own memory of that layout at its offset from `all`,
            // and no other code knows it yet.
            unsafe { place(all, cpu).write(make()) };
        }
        // INVARIANT: It was just allocated, and the value of each possible CPU was written.
        Ok(PerCpu {
            all,
            _owns: PhantomData,
        })
    }

    /// This CPU's value. The caller owns the CPU's packet path for as long.
    #[inline(always)]
    pub(crate) fn here<'a>(&'a self, cpu: &'a Cpu) -> &'a T {
        let here = self.all.as_ptr().wrapping_byte_add(cpu.offset());
        // SAFETY: It is the CPU's memory of `all`, as `place` computes it. By the invariant it has an
        // initialised `T`, which lives as long as `self`. There is no mutable reference to it,
        // because none are given out.
        unsafe { &*here }
    }

    /// The value of the CPU with number `cpu`, if that is a possible CPU.
    pub(crate) fn of(&self, cpu: usize) -> Option<&T> {
        // SAFETY: The CPU is a possible one. By the invariant it has an initialised `T`, which
        // lives as long as `self`. There is no mutable reference to it, because none are given out.
        is_possible(cpu).then(|| unsafe { &*place(self.all, cpu) })
    }

    /// The values of all possible CPUs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        possible().filter_map(|cpu| self.of(cpu))
    }
}

impl<T> Drop for PerCpu<T> {
    fn drop(&mut self) {
        for cpu in possible() {
            // SAFETY: By the invariant there is an initialised `T`, which is ours, and this is its
            // last use.
            unsafe { place(self.all, cpu).drop_in_place() };
        }
        // SAFETY: By the invariant it came from `nf_wasm_percpu_alloc` and is ours.
        unsafe { bindings::nf_wasm_percpu_free(self.all.as_ptr().cast()) };
    }
}

/// The address of a CPU's value in memory from `nf_wasm_percpu_alloc`, as per_cpu_ptr() computes
/// it.
///
/// # Safety
///
/// `cpu` is the number of a possible CPU.
unsafe fn place<T>(all: NonNull<T>, cpu: usize) -> *mut T {
    // SAFETY: By the contract.
    let offset = unsafe { offset_of_cpu(cpu) };
    all.as_ptr().wrapping_byte_add(offset)
}

/// The distance of a CPU's memory from an address that `nf_wasm_percpu_alloc` returned.
///
/// # Safety
///
/// `cpu` is the number of a possible CPU.
unsafe fn offset_of_cpu(cpu: usize) -> usize {
    // SAFETY: The kernel's table has an entry for each possible CPU, and is constant once kernel
    // modules can be loaded.
    unsafe {
        *(&raw const kernel_bindings::__per_cpu_offset)
            .cast::<usize>()
            .add(cpu)
    }
}

fn is_possible(cpu: usize) -> bool {
    // SAFETY: The mask is static, and is constant once kernel modules can be loaded.
    let mask = unsafe { Cpumask::from_raw(&raw const kernel_bindings::__cpu_possible_mask) };
    u32::try_from(cpu).is_ok_and(|cpu| CpuId::from_u32(cpu).is_some_and(|cpu| mask.test(cpu)))
}

/// The numbers of the possible CPUs.
fn possible() -> impl Iterator<Item = usize> {
    (0..nr_cpu_ids() as usize).filter(|&cpu| is_possible(cpu))
}

/// Number of possible CPUs.
pub(crate) fn possible_cpus() -> usize {
    possible().count()
}
