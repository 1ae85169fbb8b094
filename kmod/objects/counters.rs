// SPDX-License-Identifier: GPL-2.0-only
//! Counters. Each CPU counts in its own, with bottom halves off; readers sum them up.

use crate::abi::ioctl::{Counters, NO_TRAP};
use crate::abi::trap::Trap;
use crate::kernel_ext::racy::Racy;
use crate::objects::program::Decision;

/// One CPU's counters, on cache lines that they share with no other CPU's.
#[repr(align(128))]
pub(crate) struct CpuCounters {
    packets: Racy<u64>,
    bytes: Racy<u64>,
    accepted: Racy<u64>,
    quarantined: Racy<u64>,
    fuel_total: Racy<u64>,
    fuel_min: Racy<u64>,
    /// Maximum minus minimum. Before the first packet the minimum is `u64::MAX` and this is 0.
    fuel_range: Racy<u64>,
    traps: [Racy<u64>; Trap::COUNT],
}

/// Adds to a counter that only this CPU writes: two plain moves, no locked instruction.
fn add(counter: &Racy<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}

impl CpuCounters {
    pub(crate) fn new() -> Self {
        CpuCounters {
            packets: Racy::new(0),
            bytes: Racy::new(0),
            accepted: Racy::new(0),
            quarantined: Racy::new(0),
            fuel_total: Racy::new(0),
            fuel_min: Racy::new(u64::MAX),
            fuel_range: Racy::new(0),
            traps: [const { Racy::new(0) }; Trap::COUNT],
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
        self.count_fuel(decision.fuel);
    }

    pub(crate) fn packets(&self) -> u64 {
        self.packets.get()
    }

    /// Counts one packet that the filter decided: `verdict` is 1 if it accepts, and 0 if it drops.
    #[inline(always)]
    pub(crate) fn count_verdict(&self, bytes: u32, verdict: u32, fuel: u64) {
        add(&self.packets, 1);
        add(&self.bytes, u64::from(bytes));
        add(&self.accepted, u64::from(verdict));
        self.count_fuel(fuel);
    }

    #[inline(always)]
    fn count_fuel(&self, fuel: u64) {
        add(&self.fuel_total, fuel);
        // SAFETY: The caller is on the counters' own CPU and owns its packet path, and no other CPU
        // writes to them.
        let (min, range) = unsafe { (self.fuel_min.own(), self.fuel_range.own()) };
        // A value below the minimum wraps around.
        if fuel.wrapping_sub(min) > range {
            self.widen(fuel);
        }
    }

    #[cold]
    #[inline(never)]
    fn widen(&self, fuel: u64) {
        let min = self.fuel_min.get();
        let max = min.wrapping_add(self.fuel_range.get());
        let is_first = min == u64::MAX;
        let new_min = min.min(fuel);
        let new_max = if is_first { fuel } else { max.max(fuel) };
        self.fuel_min.set(new_min);
        self.fuel_range.set(new_max - new_min);
    }

    /// The most fuel that a packet used. May be inconsistent if it races with [`Self::widen`],
    /// which writes the minimum and the range one after the other.
    fn fuel_max(&self) -> u64 {
        match self.fuel_min.get() {
            u64::MAX => 0,
            min => min.saturating_add(self.fuel_range.get()),
        }
    }
}

/// Sums over CPUs or attachments.
#[derive(Clone, Copy)]
pub(crate) struct Totals {
    counters: Counters,
    /// `u64::MAX` until the filter has decided a packet.
    fuel_min: u64,
}

impl Totals {
    pub(crate) fn new() -> Self {
        Totals {
            counters: Counters::default(),
            fuel_min: u64::MAX,
        }
    }

    /// Adds one CPU's counters. `dropped` is computed, so that accepted and dropped packets add up
    /// to all packets in every snapshot. `accepted` is read before `packets`, so it is not larger.
    pub(crate) fn add_cpu(&mut self, cpu: &CpuCounters) {
        let accepted = cpu.accepted.get();
        let packets = cpu.packets.get();
        let sum = &mut self.counters;
        sum.packets += packets;
        sum.accepted += accepted;
        sum.dropped += packets.saturating_sub(accepted);
        sum.bytes += cpu.bytes.get();
        sum.quarantined += cpu.quarantined.get();
        sum.fuel_total += cpu.fuel_total.get();
        sum.fuel_max = sum.fuel_max.max(cpu.fuel_max());
        self.fuel_min = self.fuel_min.min(cpu.fuel_min.get());
        for (sum, trap) in sum.traps.iter_mut().zip(&cpu.traps) {
            *sum += trap.get();
        }
    }

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

    /// The counters for a listing.
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
