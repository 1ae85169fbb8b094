// SPDX-License-Identifier: GPL-2.0-only
//! Counts allocations. Each thread counts for itself: the test harness allocates too.
#![allow(dead_code, reason = "each test uses some of these")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What the kernel half keeps ready in each instance for the errors of traps.
pub const RESERVE: usize = 1024;

/// What the kernel half puts in front of each block.
const HEADER: usize = 32;

struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: it only counts what `System` does.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // What another thread allocated may be freed here: the difference is what counts.
        let live = LIVE.get().wrapping_add(size(layout));
        LIVE.set(live);
        if live as isize > PEAK.get() as isize {
            PEAK.set(live);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub(size(layout)));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Bytes that the kernel half would take.
fn size(layout: Layout) -> usize {
    (layout.size() + HEADER).next_multiple_of(16)
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What something allocated.
#[derive(Clone, Copy, Debug)]
pub struct Allocated {
    /// How often.
    pub calls: usize,
    /// The most bytes that lived at once.
    pub peak: usize,
    /// The bytes that live still.
    pub live: usize,
}

/// Runs `f`, and counts.
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
