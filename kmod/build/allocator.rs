// SPDX-License-Identifier: GPL-2.0-only
//! The engine's allocator: serves each allocation from the region that it belongs to.
//!
//! On a packet path, that is the region of the running instance. The memory comes from a small
//! reserve in the region, because all that is allocated there is the box of the interpreter's error
//! when the guest traps. On a build thread, it is the region of the build. In any other context an
//! allocation fails.

use core::ptr::{self, NonNull};

use kernel::sync::atomic::{Atomic, Relaxed};

use crate::build::region::{Asking, Region, ALIGN};
use crate::build::thread;
use crate::kernel_ext::cpu;

/// Number of times that a packet path had to allocate from the kernel. If it is not 0, there is a
/// bug.
pub(crate) static PACKET_PATH_ALLOCATIONS: Atomic<u64> = Atomic::new(0);

/// The region of the caller's packet path, or null if the caller is not on one.
fn packet_region() -> *mut Region {
    cpu::packet_region().cast()
}

/// The engine's `GlobalAlloc::alloc`; see `boundary.rs`.
///
/// # Safety
///
/// Only the engine calls this. So no other code uses the region of the caller's packet path or
/// thread during the call.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_alloc(size: usize, align: usize) -> *mut u8 {
    if align > ALIGN {
        return ptr::null_mut();
    }
    let packet = packet_region();
    let (region, asking) = if packet.is_null() {
        let region = thread::current_region();
        if region.is_null() {
            return ptr::null_mut();
        }
        (region, Asking::Thread)
    } else {
        (packet, Asking::PacketPath)
    };
    // SAFETY: The code that called the engine gave it this region for the whole call: on a packet
    // path by `on_packet_path`, on a thread by `Job`'s invariants. By the contract the engine is
    // here, and not in another use of the region.
    let region = unsafe { &mut *region };
    if let Asking::PacketPath = asking {
        if let Some(ptr) = region.reserve.alloc(size) {
            return ptr;
        }
        PACKET_PATH_ALLOCATIONS.fetch_add(1, Relaxed);
        region.overflowed = true;
    }
    let block = region.alloc(size, asking);
    region.refused = block.is_none();
    block.map_or(ptr::null_mut(), NonNull::as_ptr)
}

/// The engine's `GlobalAlloc::dealloc`; see `boundary.rs`.
///
/// # Safety
///
/// As [`nf_wasm_host_alloc`]. `ptr` came from there, for the same instance or session, and is not
/// used again.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_free(ptr: *mut u8, _size: usize, _align: usize) {
    let packet = packet_region();
    let region = if packet.is_null() {
        thread::current_region()
    } else {
        packet
    };
    // SAFETY: Like the allocation, this has a region: the engine runs on a packet path or on a
    // thread with a job, and the code that called the engine gave it this region for the whole
    // call. By the contract the engine is here, and not in another use of the region.
    let region = unsafe { &mut *region };
    if !packet.is_null() {
        if region.reserve.owns(ptr) {
            return region.reserve.free();
        }
        // The guest dropped a segment, which was allocated at load. Leave it in the region, to be
        // freed with it: a packet path does not free memory to the kernel.
        if !region.overflowed {
            return;
        }
    }
    region.refused = false;
    // SAFETY: An instance frees only what it allocated, and all of that, except for the reserve,
    // came from its region's `alloc`. By the contract it is not used again.
    unsafe { region.free(ptr) };
}
