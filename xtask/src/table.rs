// SPDX-License-Identifier: GPL-2.0-only
//! What was done, how long it took, and whether it is as it should be.

use crate::progress::seconds;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rows, to which several threads add.
pub struct Table {
    since: Instant,
    rows: Mutex<Vec<(String, Duration, bool)>>,
}

impl Table {
    /// An empty one.
    pub fn start() -> Self {
        Self {
            since: Instant::now(),
            rows: Mutex::default(),
        }
    }

    /// Adds a row, and says so at once: whoever is cut off knows what the time went to.
    pub fn add(&self, what: &str, took: Duration, passed: bool) {
        eprintln!(
            "After {}: {}, which took {}{}",
            seconds(self.since.elapsed()),
            what.trim(),
            seconds(took),
            if passed { "" } else { ", FAILED" }
        );
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.push((what.to_owned(), took, passed));
    }

    /// Prints it; returns whether all passed.
    pub fn print(self) -> bool {
        let rows = self.rows.into_inner();
        let rows = rows.unwrap_or_else(PoisonError::into_inner);
        println!();
        for (what, took, passed) in &rows {
            let result = if *passed { "" } else { "FAILED" };
            let what: String = what.chars().take(60).collect();
            println!("{what:<60} {:>12} {result}", seconds(*took));
        }
        rows.iter().all(|(_, _, passed)| *passed)
    }
}
