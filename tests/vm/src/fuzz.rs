// SPDX-License-Identifier: GPL-2.0-only
//! Fuzzes the inserted kernel module, from inside the virtual machine.
//!
//! - [`modules`]: filters made from a seed, run by the kernel and by the engine in user space: both
//!   must give the same verdict, trap, fuel, mark and output, or the same refusal
//! - [`requests`]: malformed requests, from several threads and network namespaces; `grammar` makes
//!   them

mod grammar;
pub mod modules;
pub mod requests;
pub mod tiers;

use std::time::{Duration, Instant};

/// The extent of a fuzzing run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The seed of all random choices.
    pub seed: u64,
    /// The index of the first case.
    pub from: u64,
    /// The number of cases, if it is limited.
    pub runs: Option<u64>,
    /// The time limit, if the number of cases is not limited.
    pub time: Duration,
}

impl Campaign {
    /// The indices of the cases, until the limit.
    pub fn cases(self) -> impl Iterator<Item = u64> {
        let since = Instant::now();
        (self.from..).take_while(move |case| match self.runs {
            Some(runs) => case - self.from < runs,
            None => since.elapsed() < self.time,
        })
    }
}

/// The results of a campaign.
#[derive(Debug, Default)]
pub struct Report {
    /// The index from which a next run continues.
    pub next: u64,
    /// How many times each outcome was seen.
    pub counts: Vec<(String, u64)>,
    /// Bugs, each with the case that showed it.
    pub findings: Vec<String>,
}

impl Report {
    /// Counts one occurrence of `what`.
    pub fn count(&mut self, what: &str) {
        match self.counts.iter_mut().find(|(name, _)| name == what) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((what.to_owned(), 1)),
        }
    }

    /// Adds another thread's report.
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

    /// Prints the report.
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
