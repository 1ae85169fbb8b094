// SPDX-License-Identifier: GPL-2.0-only
//! Filters: a name and an id, with a program that can be replaced under traffic.

use core::ptr;

use kernel::prelude::*;
use kernel::sync::rcu;

use crate::decode::name::Name;
use crate::kernel_ext::grace_period::GracePeriod;
use crate::kernel_ext::rcu_pointer::{RcuPointer, Retired};
use crate::objects::program::Program;
use crate::objects::programs::ListedProgram;
use crate::packet::logger::{Logger, Speaker};

/// A filter. Packets reach it by their hook's registration, which lets go of it when they are out.
#[pin_data]
pub(crate) struct Filter {
    pub(crate) id: u32,
    #[pin]
    pub(crate) logger: Logger,
    program: RcuPointer<ListedProgram>,
}

impl Filter {
    /// A filter without a program, which is published before the filter is. `is_initial` says
    /// whether it is in the network namespace that the machine booted with.
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

    /// The program, as long as the reader's critical section lasts.
    pub(crate) fn program<'a>(&'a self, rcu: &'a rcu::Guard) -> Option<&'a Program> {
        self.program.get(rcu)
    }

    /// The same, for a caller that is in a critical section already.
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

    /// Fuel that the filter has for a packet; 0 without a program.
    pub(crate) fn fuel(&self) -> u64 {
        let rcu = rcu::read_lock();
        self.program(&rcu).map_or(0, |it| it.settings().fuel)
    }

    /// Puts `program` in the place of the current one, if there is one, and returns that. Dropping it
    /// waits for packets and for the list of programs: drop it where nothing waits for the caller.
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
            // Packets that came before the quarantine may still be inside, on other CPUs. What they
            // trap on belongs to it, and must not bring it back. Another program may be there, and in
            // quarantine, afterwards: that one is waited for anew.
            GracePeriod::begin().wait();
        }
    }
}
