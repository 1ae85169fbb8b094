// SPDX-License-Identifier: GPL-2.0-only
//! How much work a compilation is, how much it may be, and whether it is still wanted.
//!
//! A step is the least that is done in a loop whose length the guest decides: an operator that is
//! read, an operation that is looked at, an edge that is followed, a word of a set, an instruction.
//! Whoever loops says so here before it does. So time is bounded by the module's size whatever the
//! module is, it can be tested without a clock, and the host is asked every so often.

use core::cell::Cell;
use core::fmt;

use crate::Unsupported;

/// Steps that a module may take for each of its bytes.
pub const STEPS_FOR_A_BYTE: u64 = 128;
/// And besides, so that a small module may do what is bounded by other limits.
pub const STEPS_FOR_A_MODULE: u64 = 1 << 20;
/// Steps from one question to the host to the next, if none is for more at once: a few thousandths of a
/// second at most.
pub const STEPS_WITHOUT_A_PAUSE: u64 = 1 << 14;

/// The work of one compilation.
pub struct Work<'a> {
    steps: Cell<u64>,
    most: u64,
    /// Steps at which the host is asked next.
    pause_at: Cell<u64>,
    pause: &'a dyn Fn() -> bool,
}

impl<'a> Work<'a> {
    /// For a module of so many bytes. `pause` lets others run, and says whether to go on.
    pub fn new(module_bytes: usize, pause: &'a dyn Fn() -> bool) -> Self {
        Self {
            steps: Cell::new(0),
            most: Self::most(module_bytes),
            pause_at: Cell::new(STEPS_WITHOUT_A_PAUSE),
            pause,
        }
    }

    /// Steps that a module of so many bytes may take.
    pub fn most(module_bytes: usize) -> u64 {
        // Modules have a megabyte.
        module_bytes as u64 * STEPS_FOR_A_BYTE + STEPS_FOR_A_MODULE
    }

    /// Has a compilation take as long as it does, to find out how long that is.
    #[must_use]
    pub fn without_limit(self) -> Self {
        Self {
            most: u64::MAX,
            ..self
        }
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// So many steps come next.
    #[inline]
    pub(crate) fn take(&self, steps: usize) -> Result<(), Unsupported> {
        // Lists fit into memory, so that their lengths add up to less than 2^64.
        let after = self.steps.get().saturating_add(steps as u64);
        self.steps.set(after);
        if after >= self.pause_at.get() {
            return self.ask(after);
        }
        Ok(())
    }

    #[cold]
    fn ask(&self, steps: u64) -> Result<(), Unsupported> {
        if steps > self.most {
            return Err(Unsupported::Work);
        }
        self.pause_at.set(steps + STEPS_WITHOUT_A_PAUSE);
        match (self.pause)() {
            true => Ok(()),
            false => Err(Unsupported::GivenUp),
        }
    }
}

impl fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("steps", &self.steps)
            .field("most", &self.most)
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
        let taken = (0..).find(|_| work.take(small) == Err(Unsupported::GivenUp));
        assert_eq!((taken, asked.get()), (Some(11), 3));
    }

    #[test]
    fn what_is_over_is_refused() {
        let work = Work::new(10, &|| true);
        assert_eq!(work.take(Work::most(10) as usize), Ok(()));
        let over = (0..).find(|_| work.take(1) != Ok(()));
        // It is looked at where the host is asked.
        assert!(over.is_some_and(|over| over <= STEPS_WITHOUT_A_PAUSE));
        assert!(work.take(1).is_err());
    }
}
