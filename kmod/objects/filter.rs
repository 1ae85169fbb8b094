// SPDX-License-Identifier: GPL-2.0-only
//! Filters: a name and an id, with a program that can be replaced while packets pass.

use core::ptr;

use kernel::prelude::*;
use kernel::sync::rcu;

use crate::decode::name::Name;
use crate::kernel_ext::grace_period::GracePeriod;
use crate::kernel_ext::rcu_pointer::{RcuPointer, Retired};
use crate::objects::program::Program;
use crate::objects::programs::ListedProgram;
use crate::packet::logger::{Logger, Speaker};

/// A filter. Packets reach it through hook registrations, which hold references to it until no
/// packet is inside.
#[pin_data]
pub(crate) struct Filter {
    pub(crate) id: u32,
    #[pin]
    pub(crate) logger: Logger,
    program: RcuPointer<ListedProgram>,
}

impl Filter {
    /// A filter without a program. Its program must be published before packets reach the filter.
    /// `is_initial` says whether the filter is in the initial network namespace.
    pub(crate) fn new(id: u32, name: Name, is_initial: bool) -> impl PinInit<Self> {
        pin_init!(Filter {
            id,
            logger <- Logger::new(Speaker { name, is_initial }),
            program: RcuPointer::null(),
        })
    }

    pub(crate) fn name(&self) -> &Name {
        self.logger.name()
    }

    /// The program, valid during the RCU read-side critical section.
    pub(crate) fn program<'a>(&'a self, rcu: &'a rcu::Guard) -> Option<&'a Program> {
        self.program.get(rcu)
    }

    /// The same, for a caller that is already in a critical section.
    ///
    /// # Safety
    ///
    /// The caller is in an RCU read-side critical section, which lasts for `'a`, and a program was
    /// published.
    #[inline(always)]
    pub(crate) unsafe fn program_in_section<'a>(&'a self) -> &'a Program {
        // SAFETY: By the contract.
        unsafe { self.program.get_in_section() }
    }

    /// Fuel for each packet, in units; 0 without a program.
    pub(crate) fn fuel(&self) -> u64 {
        let rcu = rcu::read_lock();
        self.program(&rcu).map_or(0, |it| it.settings().fuel)
    }

    /// Replaces the current program with `program`. Returns the old one, if there was one. Dropping
    /// it waits for packets and for the list of programs: drop it with no lock held.
    pub(crate) fn publish(&self, program: ListedProgram) -> Option<Retired<ListedProgram>> {
        self.program.replace(program)
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
            // Packets that arrived before the quarantine may still be inside on other CPUs. If one
            // of them traps, that must not quarantine the program again, so wait for them. The
            // filter may have another program after that, which is quarantined as well: then wait
            // again.
            GracePeriod::begin().wait();
        }
    }
}
