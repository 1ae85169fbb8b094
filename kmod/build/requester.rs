// SPDX-License-Identifier: GPL-2.0-only
//! The requester of a build: the owner that a build thread acts for, and the NUMA node of its
//! memory.

use kernel::sync::atomic::{Atomic, Relaxed};

use crate::control::admission;
use crate::kernel_ext::memory;
use crate::kernel_ext::owner::Owner;
use crate::module_parameters;

/// Value of the parameter `fail_allocations`: of the instances that are built for a load or a run,
/// the first fails at its first allocation, the second at its second, and so on.
const FAIL_LOADS: u8 = 1;
/// Value of the same parameter: each instance for a CPU that comes online fails at its first
/// allocation.
const FAIL_BRING_UPS: u8 = 2;
/// Value of the same parameter: as [`FAIL_LOADS`], but at every eighth allocation only.
const FAIL_SOME_LOADS: u8 = 3;

/// Number of builds since `insmod`, if the value is [`FAIL_LOADS`] or [`FAIL_SOME_LOADS`].
static BUILDS: Atomic<u64> = Atomic::new(0);

/// The owner that a build thread acts for, and the place of its memory.
#[derive(Clone, Copy)]
pub(crate) struct Requester<'a> {
    pub(crate) owner: &'a Owner,
    /// The NUMA node to allocate memory from.
    pub(crate) node: i32,
    /// A command requested the build, and its caller waits. The build runs in the caller's cgroups,
    /// and the OOM killer prefers the caller. In a bring-up there is no caller. The build then
    /// stays out of cgroups, because a move to one locks CPU hotplug, which is already locked.
    pub(crate) by_command: bool,
    /// For tests: number of the allocation that fails, counted from 1; 0 for none.
    pub(crate) failing: u64,
}

impl<'a> Requester<'a> {
    /// The requester of a command's build, for an instance for CPU `cpu` or for no CPU.
    pub(crate) fn of_command(owner: &'a Owner, cpu: Option<usize>) -> Self {
        let failing = match module_parameters::fail_allocations.value() {
            FAIL_LOADS if admission::tests_allowed() => BUILDS.fetch_add(1, Relaxed) + 1,
            FAIL_SOME_LOADS if admission::tests_allowed() => BUILDS.fetch_add(1, Relaxed) * 8 + 1,
            _ => 0,
        };
        Requester {
            owner,
            node: cpu.map_or(memory::ANY_NODE, node_of),
            by_command: true,
            failing,
        }
    }

    /// The requester of a bring-up's build.
    pub(crate) fn of_bring_up(owner: &'a Owner, cpu: usize) -> Self {
        let failing = match module_parameters::fail_allocations.value() {
            FAIL_BRING_UPS if admission::tests_allowed() => 1,
            _ => 0,
        };
        Requester {
            owner,
            node: node_of(cpu),
            by_command: false,
            failing,
        }
    }
}

fn node_of(cpu: usize) -> i32 {
    // SAFETY: Both callers got the number from the kernel, so the CPU is a possible one.
    unsafe { memory::node_of(cpu) }
}
