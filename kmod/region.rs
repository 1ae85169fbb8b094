// SPDX-License-Identifier: GPL-2.0-only
//! Regions: the memory of one instance, and the engine's allocator.
//!
//! All that the engine allocates for an instance belongs to the instance's region, has a budget
//! there, and is freed with it. That gives three things: what a filter costs is known to the byte;
//! an instance needs no destructor; and a load whose thread was ended in the middle, because an
//! allocation that cannot fail did, leaks nothing.
//!
//! Which region an allocation goes to depends on who asks. On a packet's path it is the region of
//! the instance that runs, and the memory comes from a small reserve inside it, because an
//! interpreter that traps boxes its error. Everywhere else it is that of the one load under way.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use kernel::alloc::allocator::{KVmalloc, Vmalloc};
use kernel::alloc::{Allocator, Flags, NumaNode};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

use crate::admission;
use crate::bindings;
use crate::cpu::{Cpu, CACHE_LINE};
use crate::module_parameters;

/// Bytes that a packet's path may have allocated at a time.
const RESERVE_BYTES: usize = 1024;

/// What every block is a multiple of, and begins at one of. An instance writes to its memory on its
/// own CPU, and that of another CPU's must not share a line with it.
const BLOCK_ALIGN: usize = CACHE_LINE;

/// The most that an allocation is aligned to.
const ALIGN: usize = align_of::<Block>();

/// Blocks over this come from the kernel's allocator of pages, which rounds up to the next page;
/// the other one would, for these, to the next power of two, and a linear memory is just over one.
const LARGE: usize = 2 * PAGE_SIZE;

/// Times that a packet's path needed memory from the kernel. Stays 0, or there is a bug.
pub(crate) static PACKET_PATH_ALLOCATIONS: Atomic<u64> = Atomic::new(0);

/// Value of the parameter `fail_allocations`: of the instances that are built for loads and runs,
/// the first fails at its first allocation, the second at its second, until one has fewer than its
/// number.
const FAIL_LOADS: u8 = 1;
/// Value of the same: each instance for a CPU that comes online fails at its first allocation.
const FAIL_BRING_UPS: u8 = 2;

/// Builds since `insmod`, with [`FAIL_LOADS`].
static BUILDS: Atomic<u64> = Atomic::new(0);

/// Which allocation of a build is to fail; a region counts from 1, so that 0 is none.
#[derive(Clone, Copy)]
pub(crate) struct Failing(u64);

impl Failing {
    /// For an instance that a command asked for.
    pub(crate) fn command() -> Self {
        match module_parameters::fail_allocations.value() {
            FAIL_LOADS if admission::tests_allowed() => Failing(BUILDS.fetch_add(1, Relaxed) + 1),
            _ => Failing(0),
        }
    }

    /// For an instance for a CPU that comes online.
    pub(crate) fn bring_up() -> Self {
        match module_parameters::fail_allocations.value() {
            FAIL_BRING_UPS if admission::tests_allowed() => Failing(1),
            _ => Failing(0),
        }
    }
}

/// Header of a block, in front of the bytes that the engine sees.
#[repr(C, align(16))]
struct Block {
    previous: *mut Block,
    next: *mut Block,
    bytes: usize,
}

/// Memory for boxed errors on a packet's path: handed out upwards, empty again when all is freed.
#[repr(C, align(16))]
struct Reserve {
    bytes: [u8; RESERVE_BYTES],
    used: usize,
    live: usize,
}

impl Reserve {
    fn alloc(&mut self, size: usize) -> Option<*mut u8> {
        let size = size.checked_next_multiple_of(ALIGN)?;
        if size > RESERVE_BYTES - self.used {
            return None;
        }
        let start = self.used;
        self.used += size;
        self.live += 1;
        Some(self.bytes[start..].as_mut_ptr())
    }

    fn owns(&self, ptr: *const u8) -> bool {
        self.bytes.as_ptr_range().contains(&ptr)
    }

    fn free(&mut self) {
        self.live -= 1;
        if self.live == 0 {
            self.used = 0;
        }
    }
}

/// The memory of one instance.
///
/// # Invariants
///
/// `head` begins a doubly linked list of blocks that came from the kernel's allocator, whose sizes
/// add up to `bytes`, and which nobody uses once the region is dropped. A region is used by one
/// thread at a time: by the load that fills it, and later by the packet path that owns its CPU.
#[repr(align(64))]
pub(crate) struct Region {
    head: *mut Block,
    bytes: usize,
    budget: usize,
    /// The engine's last request, of whatever kind, was for memory, and was refused.
    refused: bool,
    /// The packet path had blocks of its own; see [`nf_wasm_host_free`].
    overflowed: bool,
    /// Allocations so far, and the one of them that is to fail.
    allocations: u64,
    failing: Failing,
    reserve: Reserve,
}

const _: () = assert!(align_of::<Region>() >= CACHE_LINE);

// SAFETY: A region has no tie to the thread that made it; see the invariants for who may use it.
unsafe impl Send for Region {}

impl Region {
    /// An empty region that may grow to `budget` bytes.
    pub(crate) fn new(budget: usize, failing: Failing) -> Result<KBox<Self>> {
        // INVARIANT: The empty list.
        Ok(KBox::new(
            Region {
                head: ptr::null_mut(),
                bytes: 0,
                budget,
                refused: false,
                overflowed: false,
                allocations: 0,
                failing,
                reserve: Reserve {
                    bytes: [0; RESERVE_BYTES],
                    used: 0,
                    live: 0,
                },
            },
            GFP_KERNEL,
        )?)
    }

    /// Bytes that the region takes, itself included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + size_of::<Self>()
    }

    fn alloc(&mut self, size: usize, flags: Flags) -> Option<NonNull<u8>> {
        let bytes = size
            .checked_add(size_of::<Block>())?
            .checked_next_multiple_of(BLOCK_ALIGN)?;
        self.allocations += 1;
        if bytes > self.budget - self.bytes || self.allocations == self.failing.0 {
            return None;
        }
        let layout = Layout::from_size_align(bytes, BLOCK_ALIGN).ok()?;
        let allocate = if bytes > LARGE && flags == GFP_KERNEL {
            Vmalloc::alloc
        } else {
            KVmalloc::alloc
        };
        let block = allocate(layout, flags | __GFP_NOWARN, NumaNode::NO_NODE).ok()?;
        let block = block.cast::<Block>().as_ptr();
        // SAFETY: `block` is fresh memory for a header and `size` bytes; `head`, if there is one,
        // is a live block of ours.
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
        // INVARIANT: The block is in the list and in the sum.
        self.head = block;
        self.bytes += bytes;
        // SAFETY: The header is followed by `size` bytes of the same allocation.
        NonNull::new(unsafe { block.add(1) }.cast())
    }

    /// # Safety
    ///
    /// `ptr` came from [`Self::alloc`] of this region and is not used again.
    unsafe fn free(&mut self, ptr: *mut u8) {
        // SAFETY: By the contract, a header precedes `ptr`, and its neighbours are live blocks.
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
            // INVARIANT: The block is out of the list and out of the sum.
            self.bytes -= bytes;
            free_block(block, bytes);
        }
    }
}

/// # Safety
///
/// `block` came from [`KVmalloc`] with `bytes` bytes, and is not used again.
unsafe fn free_block(block: *mut Block, bytes: usize) {
    // SAFETY: The same layout was valid in `Region::alloc`.
    let layout = unsafe { Layout::from_size_align_unchecked(bytes, BLOCK_ALIGN) };
    // SAFETY: `block` is not null and came from this allocator with this layout.
    unsafe { KVmalloc::free(NonNull::new_unchecked(block.cast()), layout) };
}

impl Drop for Region {
    fn drop(&mut self) {
        let mut block = self.head;
        while !block.is_null() {
            // SAFETY: By the invariants `block` is live, came from KVmalloc and is used by nobody.
            unsafe {
                let Block { next, bytes, .. } = block.read();
                free_block(block, bytes);
                block = next;
            }
        }
    }
}

/// The region of the load under way. Written under the lock that loads hold, read by the load's
/// own thread.
static LOADING: Atomic<*mut Region> = Atomic::new(ptr::null_mut());

/// Names the region that allocations outside of packet paths go to, or none.
///
/// # Safety
///
/// The caller holds the lock of loads, and `region` lives until this is called again.
pub(crate) unsafe fn set_loading(region: *mut Region) {
    LOADING.store(region, Relaxed);
}

/// Whether the region of the load under way has just refused an allocation. Where an allocation
/// has no way to fail, the engine panics with nothing asked of its allocator in between; after a
/// refusal that it could cope with, it goes on to allocate or to free.
///
/// # Safety
///
/// Called on the thread of a load under way.
pub(crate) unsafe fn loading_refused() -> bool {
    // SAFETY: By the contract the region is set, and lives.
    unsafe { (*LOADING.load(Relaxed)).refused }
}

/// Runs `f` with the engine's allocations going to `region`'s reserve.
///
/// # Safety
///
/// `region` is used by nobody else.
#[inline(always)]
pub(crate) unsafe fn on_packet_path<R>(cpu: &Cpu, region: *mut Region, f: impl FnOnce() -> R) -> R {
    let before = cpu.set_region(region.cast());
    let result = f();
    cpu.set_region(before);
    result
}

/// The engine's `GlobalAlloc::alloc`; see `boundary.rs`.
#[no_mangle]
extern "C" fn nf_wasm_host_alloc(size: usize, align: usize) -> *mut u8 {
    if align > ALIGN {
        return ptr::null_mut();
    }
    // SAFETY: Callable from any context.
    let packet = unsafe { bindings::nf_wasm_packet_region() }.cast::<Region>();
    let (region, flags) = if packet.is_null() {
        (LOADING.load(Relaxed), GFP_KERNEL)
    } else {
        // SAFETY: The region was set by `on_packet_path`, below which we are.
        if let Some(ptr) = unsafe { (*packet).reserve.alloc(size) } {
            return ptr;
        }
        PACKET_PATH_ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: As above.
        unsafe { (*packet).overflowed = true };
        (packet, GFP_ATOMIC)
    };
    if region.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: Either the packet path's own region, or that of the load whose thread this is.
    let region = unsafe { &mut *region };
    let block = region.alloc(size, flags);
    region.refused = block.is_none();
    block.map_or(ptr::null_mut(), NonNull::as_ptr)
}

/// The engine's `GlobalAlloc::dealloc`; see `boundary.rs`.
///
/// # Safety
///
/// As `GlobalAlloc::dealloc`.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_free(ptr: *mut u8, _size: usize, _align: usize) {
    // SAFETY: Callable from any context.
    let packet = unsafe { bindings::nf_wasm_packet_region() }.cast::<Region>();
    let region = if packet.is_null() {
        LOADING.load(Relaxed)
    } else {
        // SAFETY: The region was set by `on_packet_path`, below which we are.
        let reserve = unsafe { &mut (*packet).reserve };
        if reserve.owns(ptr) {
            return reserve.free();
        }
        // A segment that the guest drops was allocated at load. It stays in the region, and goes
        // with it: a packet's path does not hand memory back to the kernel either.
        // SAFETY: As above.
        if !unsafe { (*packet).overflowed } {
            return;
        }
        packet
    };
    // SAFETY: An instance frees only what it allocated, and it allocated from this region.
    unsafe {
        (*region).refused = false;
        (*region).free(ptr);
    }
}
