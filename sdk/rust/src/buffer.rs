// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the host puts the context and the window.
#![cfg(target_arch = "wasm32")]

use core::arch::wasm32;

const PAGE: usize = 65_536;

unsafe extern "C" {
    /// First byte behind stack and statics; its address is the linker's.
    static __heap_base: u8;
}

/// Gives the host what stack and statics leave of the last page, and more pages if that is not
/// enough. A filter with a heap must begin it behind the pages that are there when this is called
/// (`nfw_init` comes later), as Rust's own allocator does.
#[unsafe(no_mangle)]
extern "C" fn nfw_buf(bytes: usize) -> usize {
    let start = (&raw const __heap_base).addr().next_multiple_of(8);
    let Some(end) = start.checked_add(bytes) else {
        wasm32::unreachable();
    };
    let missing = end.div_ceil(PAGE).saturating_sub(wasm32::memory_size(0));
    if missing > 0 && wasm32::memory_grow(0, missing) == usize::MAX {
        wasm32::unreachable();
    }
    start
}
