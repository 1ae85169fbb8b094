// SPDX-License-Identifier: GPL-2.0-only
//! Counts and limits the work of one compilation, and aborts it when its result is no longer
//! wanted.
//!
//! A step is one round of a loop whose length the guest decides: an operator, an operation, an
//! edge, a word of a set, an instruction. Each loop counts its steps here before it runs. If the
//! number is not known before, but a limit bounds it, the steps are counted right after the loop.
//! So the module's size bounds the time, tests need no clock, and the compilation yields at
//! intervals.

use core::cell::Cell;
use core::fmt;

use crate::Unsupported;

/// Maximum steps for each byte of a module.
pub const STEPS_FOR_A_BYTE: u64 = 128;
/// Additional steps for any module, because other limits allow small modules this much work.
pub const STEPS_FOR_A_MODULE: u64 = 1 << 20;
/// Steps between two yields; they take a few milliseconds at most. A loop that counts more at once
/// makes the interval longer.
pub const STEPS_WITHOUT_A_PAUSE: u64 = 1 << 14;

/// The work of one compilation.
pub struct Work<'a> {
    steps: Cell<u64>,
    max: u64,
    /// The number of steps at which it yields next.
    pause_at: Cell<u64>,
    pause: &'a dyn Fn() -> bool,
}

impl<'a> Work<'a> {
    /// The work for a module of this size. `pause` yields, and returns whether to go on.
    pub fn new(module_bytes: usize, pause: &'a dyn Fn() -> bool) -> Self {
        Self {
            steps: Cell::new(0),
            max: Self::max(module_bytes),
            pause_at: Cell::new(STEPS_WITHOUT_A_PAUSE),
            pause,
        }
    }

    /// The limit of steps for a module of this size.
    pub fn max(module_bytes: usize) -> u64 {
        // This does not overflow: modules have at most a megabyte.
        module_bytes as u64 * STEPS_FOR_A_BYTE + STEPS_FOR_A_MODULE
    }

    /// Removes the limit, for measurements.
    #[must_use]
    pub fn without_limit(self) -> Self {
        Self {
            max: u64::MAX,
            ..self
        }
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Counts steps.
    #[inline]
    pub(crate) fn take(&self, steps: usize) -> Result<(), Unsupported> {
        // Lists fit into memory, so the sum of their lengths stays below 2^64.
        let after = self.steps.get().saturating_add(steps as u64);
        self.steps.set(after);
        if after >= self.pause_at.get() {
            return self.ask(after);
        }
        Ok(())
    }

    #[cold]
    fn ask(&self, steps: u64) -> Result<(), Unsupported> {
        if steps > self.max {
            return Err(Unsupported::Work);
        }
        self.pause_at.set(steps + STEPS_WITHOUT_A_PAUSE);
        match (self.pause)() {
            true => Ok(()),
            false => Err(Unsupported::Aborted),
        }
    }
}

impl fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("steps", &self.steps)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_asked_every_so_often() {
        let asked = Cell::new(0);
        let pause = || {
            asked.set(asked.get() + 1);
            asked.get() < 3
        };
        let work = Work::new(1 << 20, &pause);
        let small = STEPS_WITHOUT_A_PAUSE as usize / 4;
        let taken = (0..).find(|_| work.take(small) == Err(Unsupported::Aborted));
        assert_eq!((taken, asked.get()), (Some(11), 3));
    }

    #[test]
    fn steps_over_the_limit_are_refused() {
        let work = Work::new(10, &|| true);
        assert_eq!(work.take(Work::max(10) as usize), Ok(()));
        let over = (0..).find(|_| work.take(1) != Ok(()));
        // The limit is only checked at a yield.
        assert!(over.is_some_and(|over| over <= STEPS_WITHOUT_A_PAUSE));
        assert!(work.take(1).is_err());
    }
}
