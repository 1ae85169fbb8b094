// SPDX-License-Identifier: GPL-2.0-only
//! Regions: the memory of a snapshot, or of an interpreted instance.
//!
//! All memory that the engine allocates for one of them belongs to its region, counts against the
//! region's budget, and is freed with the region. So the memory of a filter is known to the byte,
//! an instance needs no destructor, and an aborted build leaks nothing.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use kernel::alloc::allocator::Kmalloc;
use kernel::alloc::{Allocator, NumaNode};
use kernel::prelude::*;

use crate::build::requester::Requester;
use crate::kernel_ext::cpu::{Cpu, CACHE_LINE};
use crate::kernel_ext::memory::{self, BLOCK_ALIGN};

/// Maximum number of bytes that a packet path may have allocated at a time.
const RESERVE_BYTES: usize = 1024;

/// The largest alignment of an allocation.
pub(super) const ALIGN: usize = align_of::<Block>();

/// Header of a block, directly before the bytes that the engine uses.
#[repr(C, align(16))]
struct Block {
    previous: *mut Block,
    next: *mut Block,
    bytes: usize,
}

/// Memory for boxed errors on a packet path. It is allocated upwards, and empty again when
/// everything is freed.
#[repr(C, align(16))]
pub(super) struct Reserve {
    bytes: [u8; RESERVE_BYTES],
    used: usize,
    live: usize,
}

impl Reserve {
    pub(super) fn alloc(&mut self, size: usize) -> Option<*mut u8> {
        let size = size.checked_next_multiple_of(ALIGN)?;
        if size > RESERVE_BYTES - self.used {
            return None;
        }
        let start = self.used;
        self.used += size;
        self.live += 1;
        Some(self.bytes[start..].as_mut_ptr())
    }

    pub(super) fn owns(&self, ptr: *const u8) -> bool {
        self.bytes.as_ptr_range().contains(&ptr)
    }

    pub(super) fn free(&mut self) {
        self.live -= 1;
        if self.live == 0 {
            self.used = 0;
        }
    }
}

/// The memory of a snapshot or of an interpreted instance.
///
/// # Invariants
///
/// `head` begins a doubly linked list of blocks from [`memory::alloc`] or [`memory::alloc_atomic`].
/// Their sizes add up to `bytes`, and no code uses them once the region is dropped. One thread at a
/// time uses a region: the build or copy that fills it, and later the packet path of its CPU. Copies
/// read a snapshot's region.
#[repr(align(64))]
pub(crate) struct Region {
    head: *mut Block,
    bytes: usize,
    budget: usize,
    /// The NUMA node of its blocks.
    node: i32,
    /// The engine's last call of its allocator was an allocation that failed.
    pub(super) refused: bool,
    /// The requester was killed: all further allocations fail.
    is_aborted: bool,
    /// The packet path has allocated blocks besides the reserve; see [`nf_wasm_host_free`].
    pub(super) overflowed: bool,
    /// Number of allocations so far. The one with the number `failing` fails.
    allocations: u64,
    failing: u64,
    pub(super) reserve: Reserve,
}

// An instance writes to its memory on its own CPU. It must not share a cache line with another
// CPU's.
const _: () = assert!(align_of::<Region>() >= CACHE_LINE && BLOCK_ALIGN >= CACHE_LINE);
const _: () = assert!(BLOCK_ALIGN % ALIGN == 0 && size_of::<Block>() % ALIGN == 0);

// SAFETY: A region is not tied to the thread that made it; the invariants say which code may use
// it.
unsafe impl Send for Region {}

/// The context of an allocation.
#[derive(Clone, Copy)]
pub(super) enum Asking {
    /// A thread that may sleep.
    Thread,
    /// A packet path.
    PacketPath,
}

impl Region {
    /// An empty region that may grow to `budget` bytes.
    pub(crate) fn new(budget: usize, requester: &Requester<'_>) -> Result<KBox<Self>> {
        let node = NumaNode::new(requester.node()).unwrap_or(NumaNode::NO_NODE);
        let flags = match requester.is_charged() {
            true => GFP_KERNEL_ACCOUNT,
            false => GFP_KERNEL,
        };
        let memory = Kmalloc::alloc(Layout::new::<Self>(), flags, node)?;
        let region = memory.cast::<Self>().as_ptr();
        // INVARIANT: The list is empty.
        // SAFETY: This is new memory of that layout, from the allocator that the box frees it with.
        Ok(unsafe {
            region.write(Region {
                head: ptr::null_mut(),
                bytes: 0,
                budget,
                node: requester.node(),
                refused: false,
                is_aborted: false,
                overflowed: false,
                allocations: 0,
                failing: requester.failing(),
                reserve: Reserve {
                    bytes: [0; RESERVE_BYTES],
                    used: 0,
                    live: 0,
                },
            });
            KBox::from_raw(region)
        })
    }

    /// Bytes of the region, its header included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + size_of::<Self>()
    }

    /// The maximum number of bytes.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// Number of allocations so far.
    pub(crate) fn allocations(&self) -> u64 {
        self.allocations
    }

    /// Makes all further allocations fail.
    pub(crate) fn abort(&mut self) {
        self.is_aborted = true;
    }

    /// Whether the last call of the allocator was an allocation that failed. If an allocation has
    /// no way to report failure, the engine panics before it calls its allocator again. If the
    /// engine can handle the failure, it goes on and allocates or frees.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused
    }

    pub(super) fn alloc(&mut self, size: usize, asking: Asking) -> Option<NonNull<u8>> {
        let bytes = size
            .checked_add(size_of::<Block>())?
            .checked_next_multiple_of(BLOCK_ALIGN)?;
        self.allocations += 1;
        if bytes > self.budget - self.bytes || self.allocations == self.failing || self.is_aborted {
            return None;
        }
        let block = match asking {
            Asking::Thread => memory::alloc(bytes, self.node),
            Asking::PacketPath => memory::alloc_atomic(bytes),
        };
        let block = block.cast::<Block>();
        if block.is_null() {
            return None;
        }
        // SAFETY: `block` is new memory for a header and `size` bytes, aligned for both. `head`, if
        // it is not null, is a live block of ours.
        unsafe {
            block.write(Block {
                previous: ptr::null_mut(),
                next: self.head,
                bytes,
            });
            if !self.head.is_null() {
                (*self.head).previous = block;
            }
        }
        // INVARIANT: The block is in the list, and counted in `bytes`.
        self.head = block;
        self.bytes += bytes;
        // SAFETY: The header is followed by `size` bytes of the same allocation.
        NonNull::new(unsafe { block.add(1) }.cast())
    }

    /// # Safety
    ///
    /// `ptr` came from [`Self::alloc`] of this region and is not used again.
    pub(super) unsafe fn free(&mut self, ptr: *mut u8) {
        // SAFETY: By the contract a header precedes `ptr`. By the invariants the block and its
        // neighbours are live blocks of this list, which is ours by `&mut self`. Once it is
        // unlinked, no code uses the block, and it goes back to the allocator that it came from.
        unsafe {
            let block = ptr.cast::<Block>().sub(1);
            let Block {
                previous,
                next,
                bytes,
            } = block.read();
            if previous.is_null() {
                self.head = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
            // INVARIANT: The block is neither in the list nor counted in `bytes`.
            self.bytes -= bytes;
            memory::free(block.cast());
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let mut block = self.head;
        while !block.is_null() {
            // SAFETY: By the invariants `block` is live, goes back to the allocator that it came
            // from, and is not used. Its header is read before it is freed.
            unsafe {
                let next = (*block).next;
                memory::free(block.cast());
                block = next;
            }
        }
    }
}

/// Runs `f`, with the engine's allocations served from `region`'s reserve.
///
/// # Safety
///
/// `region` is valid, and no other code uses it until this returns.
#[inline(always)]
pub(crate) unsafe fn on_packet_path<R>(cpu: &Cpu, region: *mut Region, f: impl FnOnce() -> R) -> R {
    // SAFETY: By the contract it is valid, and no other code uses it until `before` is restored.
    let before = unsafe { cpu.set_region(region.cast()) };
    let result = f();
    // SAFETY: The code that had set `before` is further up the stack, and its contract still holds.
    unsafe { cpu.set_region(before) };
    result
}
