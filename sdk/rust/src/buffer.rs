// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's buffer for the context and the window.
#![cfg(target_arch = "wasm32")]

use core::arch::wasm32;

const PAGE: usize = 65_536;

unsafe extern "C" {
    /// First byte after stack and statics. The linker defines its address.
    static __heap_base: u8;
}

/// The host's buffer: the rest of the last page after stack and statics, and more pages if that is
/// not enough. A filter's heap must begin after the pages that exist when this returns, as the heap
/// of Rust's own allocator does if it is first used in `nfw_init`. `nfw_init` is called later.
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
