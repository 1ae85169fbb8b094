// SPDX-License-Identifier: GPL-2.0-only
//! Fuzzing of the module as it is loaded, from inside the machine.
//!
//! - [`modules`]: filters made from a seed, run by the kernel and by the engine out here: the same
//!   verdict, trap, fuel, mark and output, or the same refusal
//! - [`requests`]: requests that lie, from several threads and network namespaces; `grammar` says
//!   how they are made

mod grammar;
pub mod modules;
pub mod requests;
pub mod tiers;

use std::time::{Duration, Instant};

/// How much is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// What all choices follow from.
    pub seed: u64,
    /// The first case.
    pub from: u64,
    /// How many cases, if that is said.
    pub runs: Option<u64>,
    /// How long, otherwise.
    pub time: Duration,
}

impl Campaign {
    /// The numbers of the cases, until enough was done.
    pub fn cases(self) -> impl Iterator<Item = u64> {
        let since = Instant::now();
        (self.from..).take_while(move |case| match self.runs {
            Some(runs) => case - self.from < runs,
            None => since.elapsed() < self.time,
        })
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// The case to go on from.
    pub next: u64,
    /// How often something was done, by what it was.
    pub counts: Vec<(String, u64)>,
    /// What should not be, each with the case that showed it.
    pub findings: Vec<String>,
}

impl Report {
    /// Counts one.
    pub fn count(&mut self, what: &str) {
        match self.counts.iter_mut().find(|(name, _)| name == what) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((what.to_owned(), 1)),
        }
    }

    /// Takes over another thread's.
    pub fn add(&mut self, other: Self) {
        self.next = self.next.max(other.next);
        for (what, count) in other.counts {
            match self.counts.iter_mut().find(|(name, _)| *name == what) {
                Some((_, sum)) => *sum += count,
                None => self.counts.push((what, count)),
            }
        }
        self.findings.extend(other.findings);
    }

    /// Prints it.
    pub fn print(&mut self) {
        self.counts.sort();
        for (what, count) in &self.counts {
            println!("{count:>10}  {what}");
        }
        for finding in &self.findings {
            println!("FOUND {finding}");
        }
    }
}
