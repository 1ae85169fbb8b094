// SPDX-License-Identifier: GPL-2.0-only
//! Filters: a name, and the program that currently stands behind it.

use core::ptr;

use kernel::bindings as kernel_bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full};
use kernel::sync::rcu;
use kernel::types::Opaque;

use crate::bindings;
use crate::name::Name;
use crate::program::Program;

/// Lines of the kernel's log that one filter may write in [`LOG_INTERVAL_SECONDS`].
const LOG_BURST: i32 = 10;
const LOG_INTERVAL_SECONDS: i32 = 5;

/// A filter's voice in the kernel's log: its name, and a limit to its rate.
#[pin_data]
pub(crate) struct Logger {
    name: Name,
    #[pin]
    limit: Opaque<kernel_bindings::ratelimit_state>,
}

// SAFETY: `___ratelimit` may be called from anywhere at any time; the name does not change.
unsafe impl Send for Logger {}
// SAFETY: As above.
unsafe impl Sync for Logger {}

impl Logger {
    pub(crate) fn new(name: Name) -> impl PinInit<Self> {
        pin_init!(Logger {
            name,
            limit <- Opaque::ffi_init(|slot| {
                // SAFETY: The slot is ours, and pinned.
                unsafe {
                    bindings::nf_wasm_ratelimit_init(
                        slot,
                        LOG_INTERVAL_SECONDS * kernel_bindings::HZ as i32,
                        LOG_BURST,
                    )
                }
            }),
        })
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// Takes one line off the limit.
    pub(crate) fn may_log(&self) -> bool {
        // SAFETY: The state was initialised, and does not move.
        unsafe {
            kernel_bindings::___ratelimit(self.limit.get(), c"nf_wasm filter".as_char_ptr()) != 0
        }
    }
}

/// A filter.
///
/// # Invariants
///
/// `program` is null, or was a `KBox<Program>` and is ours. It is freed no earlier than a grace
/// period after it was taken out.
#[pin_data(PinnedDrop)]
pub(crate) struct Filter {
    pub(crate) id: u32,
    #[pin]
    pub(crate) logger: Logger,
    program: Atomic<*mut Program>,
}

impl Filter {
    /// A filter without a program, which is published before the filter is.
    pub(crate) fn new(id: u32, name: Name) -> impl PinInit<Self> {
        // INVARIANT: Null.
        pin_init!(Filter {
            id,
            logger <- Logger::new(name),
            program: Atomic::new(ptr::null_mut()),
        })
    }

    pub(crate) fn name(&self) -> &Name {
        self.logger.name()
    }

    /// The program, as long as the reader's critical section lasts.
    pub(crate) fn program<'a>(&'a self, _rcu: &'a rcu::Guard) -> Option<&'a Program> {
        // SAFETY: By the invariant the program lives for a grace period after it was taken out,
        // which cannot end before the guard does.
        unsafe { self.program.load(Acquire).as_ref() }
    }

    /// Puts `program` in the place of the current one, and frees that one when no packet can meet
    /// it any more. Sleeps.
    pub(crate) fn publish(&self, program: KBox<Program>) {
        // INVARIANT: A program that was a box; the old one is freed after a grace period.
        let old = self.program.xchg(KBox::into_raw(program), Full);
        if !old.is_null() {
            rcu::synchronize_rcu();
            // SAFETY: It came from `KBox::into_raw`, and its last readers are gone.
            drop(unsafe { KBox::from_raw(old) });
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Filter {
    fn drop(self: Pin<&mut Self>) {
        let program = self.program.load(Acquire);
        if !program.is_null() {
            // SAFETY: Whoever drops the last reference has detached the filter and waited for a
            // grace period: the program has no readers, and it is ours.
            drop(unsafe { KBox::from_raw(program) });
        }
    }
}
