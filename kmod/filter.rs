// SPDX-License-Identifier: GPL-2.0-only
//! Filters: a name, and the program that currently stands behind it.

use core::ptr;

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full};
use kernel::sync::rcu;

use crate::decode::name::Name;
use crate::logger::Logger;
use crate::program::Program;

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
        // SAFETY: The guard is the critical section.
        unsafe { self.read().as_ref() }
    }

    /// The same, for who is in a critical section already.
    ///
    /// # Safety
    ///
    /// The caller is in an RCU read-side critical section, which lasts for `'a`, and a program was
    /// published.
    #[inline(always)]
    pub(crate) unsafe fn program_in_section<'a>(&'a self) -> &'a Program {
        // SAFETY: By the contract. What was published is replaced, and not taken away.
        unsafe { self.read().as_ref().unwrap_unchecked() }
    }

    /// As rcu_dereference(): what is read through the pointer depends on it. By the invariant the
    /// program lives for a grace period after it was taken out, which cannot end before a critical
    /// section does that this is called in.
    #[inline(always)]
    fn read(&self) -> *const Program {
        // SAFETY: The pointer is ours to read.
        unsafe { self.program.as_ptr().read_volatile() }
    }

    /// Puts `program` in the place of the current one, and frees that one when no packet can meet
    /// it any more. Sleeps.
    pub(crate) fn publish(&self, program: Pin<KBox<Program>>) {
        // SAFETY: It stays where it is until it is dropped.
        let program = unsafe { Pin::into_inner_unchecked(program) };
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
