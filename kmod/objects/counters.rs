// SPDX-License-Identifier: GPL-2.0-only
//! Counters. Each CPU counts in its own, with bottom halves off; readers sum them up.

use crate::abi::ioctl::{Counters, NO_TRAP};
use crate::abi::trap::Trap;
use crate::kernel_ext::racy::Racy;
use crate::objects::program::Decision;

/// One CPU's counters, on cache lines that they share with no other CPU's.
#[repr(align(128))]
pub(crate) struct CpuCounters {
    bytes: Racy<u64>,
    accepted: Racy<u64>,
    dropped: Racy<u64>,
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
            bytes: Racy::new(0),
            accepted: Racy::new(0),
            dropped: Racy::new(0),
            quarantined: Racy::new(0),
            fuel_total: Racy::new(0),
            fuel_min: Racy::new(u64::MAX),
            fuel_range: Racy::new(0),
            traps: [const { Racy::new(0) }; Trap::COUNT],
        }
    }

    /// Counts a packet's bytes. Called on the counters' own CPU, which the caller has entered.
    #[inline(always)]
    pub(crate) fn count_bytes(&self, bytes: u64) {
        add(&self.bytes, bytes);
    }

    /// Counts a packet, without its bytes.
    pub(crate) fn count(&self, decision: &Decision) {
        add(
            match decision.accept {
                true => &self.accepted,
                false => &self.dropped,
            },
            1,
        );
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

    /// Counts a packet that the filter accepted, without its bytes.
    #[inline(always)]
    pub(crate) fn count_accepted(&self, fuel: u64) {
        add(&self.accepted, 1);
        self.count_fuel(fuel);
    }

    pub(crate) fn packets(&self) -> u64 {
        self.accepted.get() + self.dropped.get()
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

    /// Adds one CPU's counters. `packets` is computed, so that accepted and dropped packets always
    /// add up to all packets.
    pub(crate) fn add_cpu(&mut self, cpu: &CpuCounters) {
        let (accepted, dropped) = (cpu.accepted.get(), cpu.dropped.get());
        let sum = &mut self.counters;
        sum.packets += accepted + dropped;
        sum.accepted += accepted;
        sum.dropped += dropped;
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
