// SPDX-License-Identifier: GPL-2.0-only
//! The allocator: the kernel half's.

use core::alloc::{GlobalAlloc, Layout};

use crate::boundary::{nf_wasm_host_alloc, nf_wasm_host_free};

struct KernelMemory;

// SAFETY: the kernel half allocates as `GlobalAlloc` asks: blocks of that size and alignment, or
// null, and it neither unwinds nor calls back.
unsafe impl GlobalAlloc for KernelMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: this is the engine. Where it runs, the kernel half has said which region is its own.
        unsafe { nf_wasm_host_alloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: this is the engine, as for `alloc`. That `ptr` came from there with this layout, and is
        // not used again, is `GlobalAlloc::dealloc`'s contract.
        unsafe { nf_wasm_host_free(ptr, layout.size(), layout.align()) }
    }
}

#[global_allocator]
static MEMORY: KernelMemory = KernelMemory;
