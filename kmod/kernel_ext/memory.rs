// SPDX-License-Identifier: GPL-2.0-only
//! Memory blocks that may be large, and are near to a CPU. Charged to the active memory cgroup.
//!
//! C header: `include/linux/slab.h`

use core::ffi::c_void;
use core::ptr::NonNull;

use kernel::bindings as kernel_bindings;
use kernel::prelude::*;

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
    unsafe { bindings::nf_wasm_block_alloc(bytes, node, true) }
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

/// Where the memory of a block comes from.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The NUMA node, or one near it.
    pub(crate) node: i32,
    /// Whether the active memory cgroup is charged.
    pub(crate) is_charged: bool,
    /// For tests: there is no memory.
    pub(crate) fails: bool,
}

/// An owned block, which begins at a multiple of [`BLOCK_ALIGN`].
///
/// # Invariants
///
/// `start` came from `nf_wasm_block_alloc`, and its `bytes` bytes are ours and initialised.
pub(crate) struct Block {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: It owns its bytes, as a box does.
unsafe impl Send for Block {}
// SAFETY: A shared reference only permits reads, or writes through addresses whose users exclude
// each other.
unsafe impl Sync for Block {}

impl Block {
    /// A block of zeros. Sleeps, but does not invoke the OOM killer.
    pub(crate) fn zeroed(bytes: usize, place: Place) -> Result<Self> {
        // SAFETY: A pattern of zeros is written to all bytes.
        unsafe { Self::new(bytes, place, |start| start.write_bytes(0, bytes)) }
    }

    /// A copy of the block, as [`Self::zeroed`] allocates it.
    pub(crate) fn copy(&self, place: Place) -> Result<Self> {
        let (from, bytes) = (self.start, self.bytes);
        // SAFETY: By the invariant there are as many bytes to copy. The new block is a separate
        // one.
        unsafe {
            Self::new(bytes, place, |to| {
                to.copy_from_nonoverlapping(from, bytes);
            })
        }
    }

    /// # Safety
    ///
    /// `fill` initialises `bytes` bytes from its argument on.
    unsafe fn new(bytes: usize, place: Place, fill: impl FnOnce(NonNull<u8>)) -> Result<Self> {
        if place.fails {
            return Err(ENOMEM);
        }
        // SAFETY: As in `alloc`.
        let start = unsafe { bindings::nf_wasm_block_alloc(bytes, place.node, place.is_charged) };
        let start = NonNull::new(start.cast::<u8>()).ok_or(ENOMEM)?;
        fill(start);
        // INVARIANT: By the contract all bytes were initialised.
        Ok(Block { start, bytes })
    }

    /// The address of its first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Bytes of the block.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: By the invariant it came from there and is ours, and this is its last use.
        unsafe { bindings::nf_wasm_block_free(self.start.as_ptr().cast()) };
    }
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
