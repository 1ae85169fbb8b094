// SPDX-License-Identifier: GPL-2.0-only
//! Decides when an instance is restored from the snapshot.

use core::cell::Cell;

use crate::kernel_ext::clock::monotonic_ns;
use crate::kernel_ext::racy::Racy;

/// The first wait between a trap and the reload after it. Each further wait is twice the one before.
const FIRST_WAIT_NS: u64 = 1_000_000;
/// The longest wait.
const MAX_WAIT_NS: u64 = FIRST_WAIT_NS << 10;
/// An instance that did not trap for so long after a reload does not wait for the next one: at least
/// this time, and so many times its last wait.
const CALM_NS: u64 = 100_000_000;
const CALM_WAITS: u64 = 16;

/// What an instance does before it decides a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    /// Is restored.
    Restore,
    /// Does not decide it: the instance waits to be restored.
    Wait,
}

/// One instance's reloads. Only its CPU uses this, but for `count`.
pub(super) struct Reload {
    /// The instance has to be restored before it decides a packet.
    wanted: Cell<bool>,
    /// It may not be restored before this time, in nanoseconds of CLOCK_MONOTONIC.
    due: Cell<u64>,
    /// The time of the last reload after a trap, and how long it had waited.
    last: Cell<u64>,
    wait: Cell<u64>,
    /// Packets since the last reload.
    packets: Cell<u32>,
    /// Number of reloads. Read by other CPUs.
    count: Racy<u64>,
}

impl Reload {
    pub(super) fn new() -> Self {
        Reload {
            wanted: Cell::new(false),
            due: Cell::new(0),
            last: Cell::new(0),
            wait: Cell::new(0),
            packets: Cell::new(0),
            count: Racy::new(0),
        }
    }

    /// For a new instance: nothing is wanted of it.
    pub(super) fn forget(&self) {
        self.wanted.set(false);
        self.last.set(0);
        self.wait.set(0);
        self.packets.set(0);
    }

    /// Wants a reload, with no wait.
    pub(super) fn want(&self) {
        self.due.set(0);
        self.wanted.set(true);
    }

    /// Wants a reload after a trap. Returns false if the instance has waited the longest time
    /// already, and trapped again.
    pub(super) fn want_after_trap(&self) -> bool {
        let now = monotonic_ns();
        let (last, before) = (self.last.get(), self.wait.get());
        // The clock may go back a little.
        let is_calm = now.saturating_sub(last) >= CALM_NS.max(CALM_WAITS * before);
        let wait = match before {
            _ if last == 0 || is_calm => 0,
            0 => FIRST_WAIT_NS,
            _ => 2 * before,
        };
        self.wait.set(wait.min(MAX_WAIT_NS));
        self.due.set(now + self.wait.get());
        self.wanted.set(true);
        wait <= MAX_WAIT_NS
    }

    /// Counts a packet, before the instance decides it. `recycle` is the number of packets after
    /// which an instance is restored, or 0.
    pub(super) fn before_packet(&self, recycle: u32) -> Before {
        if self.wanted.get() {
            if self.due.get() > monotonic_ns() {
                return Before::Wait;
            }
            if self.due.get() != 0 {
                self.last.set(self.due.get());
            }
        } else if recycle == 0 || self.packets.get() < recycle {
            self.packets.set(self.packets.get().saturating_add(1));
            return Before::Nothing;
        }
        self.wanted.set(false);
        self.packets.set(1);
        self.count.set(self.count.get() + 1);
        Before::Restore
    }

    pub(super) fn count(&self) -> u64 {
        self.count.get()
    }
}
