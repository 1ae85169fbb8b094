// SPDX-License-Identifier: GPL-2.0-only
//! Memory blocks that may be large, and are near to a CPU. Charged to the active memory cgroup.
//!
//! C header: `include/linux/slab.h`

use core::ffi::c_void;

use kernel::bindings as kernel_bindings;

use crate::kernel_ext::bindings;

/// The alignment of a block's address and size.
pub(crate) const BLOCK_ALIGN: usize = bindings::NF_WASM_BLOCK_ALIGN as usize;

/// Any NUMA node.
pub(crate) const ANY_NODE: i32 = kernel_bindings::NUMA_NO_NODE;

/// A block on NUMA node `node`, or near it. Null if there is no memory. Sleeps, but does not invoke
/// the OOM killer.
pub(crate) fn alloc(bytes: usize, node: i32) -> *mut c_void {
    // SAFETY: Any size and any number are permitted: one that is not an online node's means any
    // node.
    unsafe { bindings::nf_wasm_block_alloc(bytes, node) }
}

/// The same on any node, without sleeping. Any context.
pub(crate) fn alloc_atomic(bytes: usize) -> *mut c_void {
    // SAFETY: Any size is permitted.
    unsafe { bindings::nf_wasm_block_alloc_atomic(bytes) }
}

/// Frees a block of [`alloc`] or [`alloc_atomic`].
///
/// # Safety
///
/// `block` came from [`alloc`] or [`alloc_atomic`], and this is its last use.
pub(crate) unsafe fn free(block: *const c_void) {
    // SAFETY: By the contract.
    unsafe { bindings::nf_wasm_block_free(block) };
}

/// The NUMA node with memory that is nearest to the CPU with number `cpu`.
///
/// # Safety
///
/// The CPU is a possible one.
pub(crate) unsafe fn node_of(cpu: usize) -> i32 {
    // SAFETY: Only reads the kernel's map, which by the contract has an entry for the number.
    unsafe { bindings::nf_wasm_cpu_node(cpu as u32) }
}
