// SPDX-License-Identifier: GPL-2.0-only
//! What is counted. Each CPU counts for itself with bottom halves off; readers add up.

use kernel::sync::atomic::{Atomic, Relaxed};

use crate::abi::ioctl::{Counters, NO_TRAP};
use crate::abi::trap::Trap;
use crate::program::Decision;

/// One CPU's counters, on cache lines of their own.
#[repr(align(64))]
pub(crate) struct CpuCounters {
    packets: Atomic<u64>,
    bytes: Atomic<u64>,
    accepted: Atomic<u64>,
    quarantined: Atomic<u64>,
    fuel_total: Atomic<u64>,
    fuel_min: Atomic<u64>,
    fuel_max: Atomic<u64>,
    traps: [Atomic<u64>; Trap::COUNT],
}

/// Adds to a counter that nobody else writes: two plain moves, no locked instruction.
fn add(counter: &Atomic<u64>, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

impl CpuCounters {
    pub(crate) fn new() -> Self {
        CpuCounters {
            packets: Atomic::new(0),
            bytes: Atomic::new(0),
            accepted: Atomic::new(0),
            quarantined: Atomic::new(0),
            fuel_total: Atomic::new(0),
            fuel_min: Atomic::new(u64::MAX),
            fuel_max: Atomic::new(0),
            traps: [const { Atomic::new(0) }; Trap::COUNT],
        }
    }

    /// Counts one packet. Called on the counters' own CPU, which the caller has entered.
    pub(crate) fn count(&self, bytes: u32, decision: &Decision) {
        add(&self.packets, 1);
        add(&self.bytes, u64::from(bytes));
        if decision.accept {
            add(&self.accepted, 1);
        }
        if decision.quarantined {
            add(&self.quarantined, 1);
            return;
        }
        if decision.trap != NO_TRAP {
            if let Some(counter) = self.traps.get(decision.trap as usize) {
                add(counter, 1);
            }
        }
        add(&self.fuel_total, decision.fuel);
        if decision.fuel < self.fuel_min.load(Relaxed) {
            self.fuel_min.store(decision.fuel, Relaxed);
        }
        if decision.fuel > self.fuel_max.load(Relaxed) {
            self.fuel_max.store(decision.fuel, Relaxed);
        }
    }
}

/// Sums over CPUs or attachments.
#[derive(Clone, Copy)]
pub(crate) struct Totals {
    counters: Counters,
    /// `u64::MAX` until a packet has run.
    fuel_min: u64,
}

impl Totals {
    pub(crate) fn new() -> Self {
        Totals {
            counters: Counters::default(),
            fuel_min: u64::MAX,
        }
    }

    /// Adds one CPU's. `dropped` is derived, so that packets are accounted for in every snapshot:
    /// `accepted` is read first and can only be too small.
    pub(crate) fn add_cpu(&mut self, cpu: &CpuCounters) {
        let accepted = cpu.accepted.load(Relaxed);
        let packets = cpu.packets.load(Relaxed);
        let sum = &mut self.counters;
        sum.packets += packets;
        sum.accepted += accepted;
        sum.dropped += packets.saturating_sub(accepted);
        sum.bytes += cpu.bytes.load(Relaxed);
        sum.quarantined += cpu.quarantined.load(Relaxed);
        sum.fuel_total += cpu.fuel_total.load(Relaxed);
        sum.fuel_max = sum.fuel_max.max(cpu.fuel_max.load(Relaxed));
        self.fuel_min = self.fuel_min.min(cpu.fuel_min.load(Relaxed));
        for (sum, trap) in sum.traps.iter_mut().zip(&cpu.traps) {
            *sum += trap.load(Relaxed);
        }
    }

    /// Adds other sums.
    pub(crate) fn add(&mut self, other: &Totals) {
        let (sum, add) = (&mut self.counters, &other.counters);
        sum.packets += add.packets;
        sum.bytes += add.bytes;
        sum.accepted += add.accepted;
        sum.dropped += add.dropped;
        sum.quarantined += add.quarantined;
        sum.fuel_total += add.fuel_total;
        sum.fuel_max = sum.fuel_max.max(add.fuel_max);
        self.fuel_min = self.fuel_min.min(other.fuel_min);
        for (sum, trap) in sum.traps.iter_mut().zip(&add.traps) {
            *sum += trap;
        }
    }

    /// As a listing has it.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            fuel_min: if self.fuel_min == u64::MAX {
                0
            } else {
                self.fuel_min
            },
            ..self.counters
        }
    }
}
