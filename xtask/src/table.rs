// SPDX-License-Identifier: GPL-2.0-only
//! What was done, how long it took, and whether it is as it should be.

use crate::progress::seconds;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Rows, to which several threads add.
#[derive(Default)]
pub struct Table(Mutex<Vec<(String, Duration, bool)>>);

impl Table {
    /// Adds a row.
    pub fn add(&self, what: &str, took: Duration, passed: bool) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.push((what.to_owned(), took, passed));
    }

    /// Prints it; returns whether all passed.
    pub fn print(self) -> bool {
        let rows = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        println!();
        for (what, took, passed) in &rows {
            let result = if *passed { "" } else { "FAILED" };
            let what: String = what.chars().take(60).collect();
            println!("{what:<60} {:>12} {result}", seconds(*took));
        }
        rows.iter().all(|(_, _, passed)| *passed)
    }
}
