// SPDX-License-Identifier: GPL-2.0-only
//! What is asked of a thread, besides its work.

use kernel::bindings::NUMA_NO_NODE;
use kernel::sync::atomic::{Atomic, Relaxed};

use crate::build::owner::Owner;
use crate::control::admission;
use crate::kernel_ext::bindings;
use crate::module_parameters;

/// Value of the parameter `fail_allocations`: of the instances that are built for loads and runs,
/// the first fails at its first allocation, the second at its second, until one has fewer than its
/// number.
const FAIL_LOADS: u8 = 1;
/// Value of the same: each instance for a CPU that comes online fails at its first allocation.
const FAIL_BRING_UPS: u8 = 2;

/// Builds since `insmod`, with [`FAIL_LOADS`].
static BUILDS: Atomic<u64> = Atomic::new(0);

/// For whom and where something is done.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) owner: &'a Owner,
    /// The node that memory is to come from.
    pub(crate) node: i32,
    /// Whether somebody asked by a command, and waits. Their cgroups then pay for the time, and theirs
    /// is the process that the OOM killer is to choose. In a bring-up nobody did; and CPU hotplug, which
    /// a task's move to another cgroup locks, is locked.
    pub(crate) by_command: bool,
    /// Which allocation is to fail, counted from 1; 0 is none.
    pub(crate) failing: u64,
}

impl<'a> Order<'a> {
    /// From a command, for the CPU with number `cpu` if it is for one.
    pub(crate) fn of_command(owner: &'a Owner, cpu: Option<usize>) -> Self {
        let failing = match module_parameters::fail_allocations.value() {
            FAIL_LOADS if admission::tests_allowed() => BUILDS.fetch_add(1, Relaxed) + 1,
            _ => 0,
        };
        Order {
            owner,
            node: cpu.map_or(NUMA_NO_NODE, node_of),
            by_command: true,
            failing,
        }
    }

    /// For a CPU that comes online.
    pub(crate) fn of_bring_up(owner: &'a Owner, cpu: usize) -> Self {
        let failing = match module_parameters::fail_allocations.value() {
            FAIL_BRING_UPS if admission::tests_allowed() => 1,
            _ => 0,
        };
        Order {
            owner,
            node: node_of(cpu),
            by_command: false,
            failing,
        }
    }
}

fn node_of(cpu: usize) -> i32 {
    // SAFETY: Only reads the kernel's map, which has an entry for each number that a CPU can have; both
    // callers got theirs from the kernel.
    unsafe { bindings::nf_wasm_cpu_node(cpu as u32) }
}
