// SPDX-License-Identifier: GPL-2.0-only
//! The requester of a build: the owner that a build thread acts for, and the NUMA node of its
//! memory.

use core::cell::Cell;

use kernel::sync::atomic::{Atomic, Relaxed};

use crate::control::admission;
use crate::kernel_ext::memory::{self, Place};
use crate::kernel_ext::owner::Owner;
use crate::module_parameters;

/// Value of the parameter `fail_allocations`: the first load or run fails at its first allocation,
/// the second at its second, and so on.
const FAIL_LOADS: u8 = 1;
/// Value of the same parameter: each instance for a CPU that comes online fails at its first
/// allocation.
const FAIL_BRING_UPS: u8 = 2;
/// Value of the same parameter: as [`FAIL_LOADS`], but at every eighth allocation only.
const FAIL_SOME_LOADS: u8 = 3;

/// Number of loads and runs since `insmod`, if the value is [`FAIL_LOADS`] or [`FAIL_SOME_LOADS`].
static LOADS: Atomic<u64> = Atomic::new(0);

/// The owner that a build thread acts for, and the place of its memory.
pub(crate) struct Requester<'a> {
    /// In a bring-up there is none. The copy of a snapshot uses no credentials, and its memory must
    /// be charged to nobody: with CPU hotplug locked, a charge must not wait for a full cgroup.
    pub(crate) owner: Option<&'a Owner>,
    /// The NUMA node to allocate memory from.
    node: Cell<i32>,
    /// A command requested the build, and its caller waits. The build runs in the caller's cgroups,
    /// and the OOM killer prefers the caller. In a bring-up there is no caller. The build then
    /// stays out of cgroups, because a move to one locks CPU hotplug, which is already locked.
    pub(crate) by_command: bool,
    /// For tests: number of the allocation that fails, counted from 1; 0 for none.
    failing: Cell<u64>,
}

impl<'a> Requester<'a> {
    /// The requester of a command's builds.
    pub(crate) fn of_command(owner: &'a Owner) -> Self {
        let failing = match module_parameters::fail_allocations.value() {
            FAIL_LOADS if admission::tests_allowed() => LOADS.fetch_add(1, Relaxed) + 1,
            FAIL_SOME_LOADS if admission::tests_allowed() => LOADS.fetch_add(1, Relaxed) * 8 + 1,
            _ => 0,
        };
        Requester {
            owner: Some(owner),
            node: Cell::new(memory::ANY_NODE),
            by_command: true,
            failing: Cell::new(failing),
        }
    }

    /// The requester of tests. It stays out of cgroups: a move takes a grace period, and a test
    /// makes thousands of calls.
    pub(crate) fn of_test(owner: &'a Owner) -> Self {
        Requester {
            by_command: false,
            ..Self::of_command(owner)
        }
    }

    /// The requester of a bring-up's copies.
    pub(crate) fn of_bring_up(cpu: usize) -> Self {
        let failing = match module_parameters::fail_allocations.value() {
            FAIL_BRING_UPS if admission::tests_allowed() => 1,
            _ => 0,
        };
        let requester = Requester {
            owner: None,
            node: Cell::new(memory::ANY_NODE),
            by_command: false,
            failing: Cell::new(failing),
        };
        requester.move_to(cpu);
        requester
    }

    /// Memory from now on is for the CPU with number `cpu`, which is a possible one.
    pub(crate) fn move_to(&self, cpu: usize) {
        self.node.set(node_of(cpu));
    }

    /// The NUMA node to allocate memory from.
    pub(crate) fn node(&self) -> i32 {
        self.node.get()
    }

    /// Whether the active memory cgroup is charged.
    pub(crate) fn is_charged(&self) -> bool {
        self.owner.is_some()
    }

    /// The place of one more block.
    pub(crate) fn place(&self) -> Place {
        let fails = self.failing.get() == 1;
        self.count(1);
        Place {
            node: self.node(),
            is_charged: self.is_charged(),
            fails,
        }
    }

    /// For tests: number of the next allocation that fails, counted from 1; 0 for none.
    pub(crate) fn failing(&self) -> u64 {
        self.failing.get()
    }

    /// Counts allocations that were made.
    pub(crate) fn count(&self, allocations: u64) {
        self.failing
            .set(self.failing.get().saturating_sub(allocations));
    }
}

fn node_of(cpu: usize) -> i32 {
    // SAFETY: Both callers got the number from the kernel, so the CPU is a possible one.
    unsafe { memory::node_of(cpu) }
}
