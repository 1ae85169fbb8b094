// SPDX-License-Identifier: GPL-2.0-only
//! The global allocator, which calls the kernel half.

use core::alloc::{GlobalAlloc, Layout};

use crate::boundary::{nf_wasm_host_alloc, nf_wasm_host_free};

struct KernelMemory;

// SAFETY: the kernel half fulfils `GlobalAlloc`'s contract: it returns a block of that size and
// alignment, or null, and neither unwinds nor calls the engine.
unsafe impl GlobalAlloc for KernelMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: this is the engine. While it runs, the kernel half has set the region for its
        // allocations.
        unsafe { nf_wasm_host_alloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: this is the engine, as in `alloc`. By `GlobalAlloc::dealloc`'s contract `ptr`
        // came from there with this layout, and is not used again.
        unsafe { nf_wasm_host_free(ptr, layout.size(), layout.align()) }
    }
}

#[global_allocator]
static MEMORY: KernelMemory = KernelMemory;
