// SPDX-License-Identifier: GPL-2.0-only
//! Filters: a name and an id, with a program that can be replaced under traffic.

use core::ptr;

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full};
use kernel::sync::rcu;

use crate::decode::name::Name;
use crate::kernel_ext::grace_period::GracePeriod;
use crate::objects::program::Program;
use crate::objects::programs::ListedProgram;
use crate::packet::logger::{Logger, Speaker};

/// A filter.
///
/// # Invariants
///
/// `program` is null, or came from [`ListedProgram::into_raw`] and is ours. It is freed no earlier than a grace
/// period after it was taken out.
#[pin_data(PinnedDrop)]
pub(crate) struct Filter {
    pub(crate) id: u32,
    #[pin]
    pub(crate) logger: Logger,
    program: Atomic<*mut Program>,
}

impl Filter {
    /// A filter without a program, which is published before the filter is. `is_initial` says
    /// whether it is in the network namespace that the machine booted with.
    pub(crate) fn new(id: u32, name: Name, is_initial: bool) -> impl PinInit<Self> {
        // INVARIANT: Null.
        pin_init!(Filter {
            id,
            logger <- Logger::new(Speaker { name, is_initial }),
            program: Atomic::new(ptr::null_mut()),
        })
    }

    pub(crate) fn name(&self) -> &Name {
        self.logger.name()
    }

    /// The program, as long as the reader's critical section lasts.
    pub(crate) fn program<'a>(&'a self, _rcu: &'a rcu::Guard) -> Option<&'a Program> {
        // SAFETY: The pointer is null or, by the invariant, to a program that lives for a grace
        // period after it was taken out. That cannot end before the critical section does that
        // `_rcu` stands for, and so not during `'a`. Programs are only changed through shared
        // references.
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
        // SAFETY: The caller's critical section keeps the program alive for `'a`, as a guard would.
        // It is there: what was published is replaced, and not taken away.
        unsafe { self.read().as_ref().unwrap_unchecked() }
    }

    /// As rcu_dereference(): what is read through the pointer depends on it.
    #[inline(always)]
    fn read(&self) -> *const Program {
        // SAFETY: The pointer is valid and aligned; it is written atomically, and read whole.
        unsafe { self.program.as_ptr().read_volatile() }
    }

    /// Fuel that the filter has for a packet; 0 without a program.
    pub(crate) fn fuel(&self) -> u64 {
        let rcu = rcu::read_lock();
        self.program(&rcu).map_or(0, |it| it.settings().fuel)
    }

    /// Puts `program` in the place of the current one, if there is one, and returns that.
    pub(crate) fn publish(&self, program: ListedProgram) -> Option<Replaced> {
        // INVARIANT: It comes from `into_raw`.
        let old = self.program.xchg(program.into_raw(), Full);
        if old.is_null() {
            return None;
        }
        // INVARIANT: It is taken out by now.
        Some(Replaced {
            grace_period: GracePeriod::begin(),
            // SAFETY: By the invariant it came from `into_raw`, and by the exchange it is ours.
            _program: unsafe { ListedProgram::from_raw(old) },
        })
    }

    /// Ends a quarantine. Sleeps.
    pub(crate) fn release(&self) {
        let mut waited_for = ptr::null();
        loop {
            {
                let rcu = rcu::read_lock();
                let Some(program) = self.program(&rcu) else {
                    return;
                };
                if !program.quarantined() || ptr::eq(program, waited_for) {
                    return program.release();
                }
                waited_for = ptr::from_ref(program);
            }
            // Packets that came before the quarantine may still be inside, on other CPUs. What they
            // trap on belongs to it, and must not bring it back. Another program may be there, and in
            // quarantine, afterwards: that one is waited for anew.
            GracePeriod::begin().wait();
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Filter {
    fn drop(self: Pin<&mut Self>) {
        let program = self.program.load(Acquire);
        if !program.is_null() {
            // SAFETY: By the invariant it came from `into_raw` and is ours. It has no
            // readers: each has a `&Filter`, those on a packet's way by their hook's registration,
            // which lets go of the filter when they are out.
            drop(unsafe { ListedProgram::from_raw(program) });
        }
    }
}

/// A program that was replaced. Packets may still be decided by it: dropping it waits for them, and
/// for the list of programs, so let nothing wait for you meanwhile.
///
/// # Invariants
///
/// The filter has had another program since `grace_period` began.
pub(crate) struct Replaced {
    grace_period: GracePeriod,
    _program: ListedProgram,
}

impl Drop for Replaced {
    fn drop(&mut self) {
        // The program goes after this.
        self.grace_period.wait();
    }
}
