// SPDX-License-Identifier: GPL-2.0-only
//! Blocks of memory that are large, or near to a CPU, and charged to the active memory cgroup.
//!
//! C header: `include/linux/slab.h`

use core::ffi::c_void;

use kernel::bindings as kernel_bindings;

use crate::kernel_ext::bindings;

/// What the size of a block is a multiple of, and its address.
pub(crate) const BLOCK_ALIGN: usize = bindings::NF_WASM_BLOCK_ALIGN as usize;

/// No node in particular.
pub(crate) const ANY_NODE: i32 = kernel_bindings::NUMA_NO_NODE;

/// A block on `node`, or near it. Sleeps, but asks no OOM killer for help. Null if there is none.
/// The caller may sleep.
pub(crate) fn alloc(bytes: usize, node: i32) -> *mut c_void {
    // SAFETY: The size may be anything, and what is not a node's number is none in particular.
    unsafe { bindings::nf_wasm_block_alloc(bytes, node) }
}

/// The same from anywhere, without sleeping. Any context.
pub(crate) fn alloc_atomic(bytes: usize) -> *mut c_void {
    // SAFETY: The size may be anything.
    unsafe { bindings::nf_wasm_block_alloc_atomic(bytes) }
}

/// Frees a block of either.
///
/// # Safety
///
/// `block` came from [`alloc`] or [`alloc_atomic`], and this is its last use.
pub(crate) unsafe fn free(block: *const c_void) {
    // SAFETY: By the contract.
    unsafe { bindings::nf_wasm_block_free(block) };
}

/// The node of memory that is nearest to the CPU with number `cpu`.
///
/// # Safety
///
/// The number is below `nr_cpu_ids`.
pub(crate) unsafe fn node_of(cpu: usize) -> i32 {
    // SAFETY: Only reads the kernel's map, which by the contract has an entry for the number.
    unsafe { bindings::nf_wasm_cpu_node(cpu as u32) }
}
