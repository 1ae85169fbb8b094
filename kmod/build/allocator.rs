// SPDX-License-Identifier: GPL-2.0-only
//! The engine's allocator: finds the region that an allocation belongs to.
//!
//! On a packet's path that is the region of the instance that runs. The memory comes from a small reserve
//! in the region, because an interpreter that traps boxes its error. On a build thread it is the
//! region of the build. In any other context an allocation fails.

use core::ptr::{self, NonNull};

use kernel::sync::atomic::{Atomic, Relaxed};

use crate::build::region::{Asking, Region, ALIGN};
use crate::build::thread;
use crate::kernel_ext::cpu;

/// Times that a packet's path needed memory from the kernel. Stays 0, or there is a bug.
pub(crate) static PACKET_PATH_ALLOCATIONS: Atomic<u64> = Atomic::new(0);

/// The region of the packet path that this is called on, or null.
fn packet_region() -> *mut Region {
    cpu::packet_region().cast()
}

/// The engine's `GlobalAlloc::alloc`; see `boundary.rs`.
///
/// # Safety
///
/// Called by the engine alone. So nothing else uses the region that the caller's packet path or thread
/// says is its own.
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
    // SAFETY: Whoever had the engine run gave it this region for as long, on a packet's path by
    // `on_packet_path` and on a thread by `Job`'s invariants; and by the contract the engine is here, not
    // in another use of it.
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
/// As [`nf_wasm_host_alloc`], and `ptr` came from there, asked for by the same instance or session, and is
/// not used again.
#[no_mangle]
unsafe extern "C" fn nf_wasm_host_free(ptr: *mut u8, _size: usize, _align: usize) {
    let packet = packet_region();
    let region = if packet.is_null() {
        thread::current_region()
    } else {
        packet
    };
    // SAFETY: As the allocation did, so this has a region: the engine runs on a packet's path or on a
    // thread with a job, and whoever had it run gave it this region for as long. By the contract it is here,
    // not in another use of it.
    let region = unsafe { &mut *region };
    if !packet.is_null() {
        if region.reserve.owns(ptr) {
            return region.reserve.free();
        }
        // A segment that the guest drops was allocated at load. It stays in the region, and goes
        // with it: a packet's path does not hand memory back to the kernel either.
        if !region.overflowed {
            return;
        }
    }
    region.refused = false;
    // SAFETY: An instance frees only what it allocated, and all that it allocated but for the reserve came
    // from its region's `alloc`. By the contract it is not used again.
    unsafe { region.free(ptr) };
}
