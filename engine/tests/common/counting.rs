// SPDX-License-Identifier: GPL-2.0-only
//! Counts allocations, per thread, because the test harness allocates too.
#![allow(dead_code, reason = "each test uses some of these")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes that the kernel half reserves in each instance for the errors of traps.
pub const RESERVE: usize = 1024;

/// Bytes of the header that the kernel half puts in front of each block.
const HEADER: usize = 32;

struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: It only counts the calls, and passes them to `System`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // This may wrap around: a thread may free what another one allocated.
        let live = LIVE.get().wrapping_add(size(layout));
        LIVE.set(live);
        if live as isize > PEAK.get() as isize {
            PEAK.set(live);
        }
        // SAFETY: By the caller's contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub(size(layout)));
        // SAFETY: By the caller's contract, which is the same.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Bytes that the kernel half would allocate.
fn size(layout: Layout) -> usize {
    (layout.size() + HEADER).next_multiple_of(16)
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts of allocations.
#[derive(Clone, Copy, Debug)]
pub struct Allocated {
    /// Number of allocations.
    pub calls: usize,
    /// Maximum bytes that were allocated at once.
    pub peak: usize,
    /// Bytes that are still allocated.
    pub live: usize,
}

/// Runs `f`, and counts its allocations.
pub fn counted<T>(f: impl FnOnce() -> T) -> (T, Allocated) {
    let calls = CALLS.get();
    LIVE.set(0);
    PEAK.set(0);
    let value = f();
    let allocated = Allocated {
        calls: CALLS.get() - calls,
        peak: PEAK.get(),
        live: LIVE.get(),
    };
    (value, allocated)
}
