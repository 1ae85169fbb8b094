// SPDX-License-Identifier: GPL-2.0-only
//! The table at the end of a test run: each part's time, processor time, budget and result.

use crate::progress::seconds;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many seconds each part of `cargo xtask test --kernel all` may take while other parts of the
/// run go on beside it, on two otherwise idle processors, with a warm cache. A part that is over
/// its budget is pointed out and does not fail: machines differ. The part's processor time tells
/// whether the part or the machine was slow.
const BUDGETS: [(&str, u64); 16] = [
    ("lint", 150),
    ("build stock", 100),
    ("build rt", 150),
    ("build debug", 420),
    ("host", 1_080),
    ("fuzz", 240),
    ("docs", 90),
    ("bench", 200),
    ("vm stock part 1", 440),
    ("vm stock part 2", 480),
    ("vm stock last", 150),
    ("vm rt packets", 300),
    ("vm debug part 1", 720),
    ("vm debug part 2", 900),
    ("vm debug last", 330),
    ("all", 30 * 60 - 60),
];

/// A part of the run.
struct Row {
    what: String,
    took: Duration,
    /// Of the programs that it waited for, with their children.
    processor: Duration,
    passed: bool,
}

impl Row {
    fn budget(&self) -> Option<Duration> {
        let budget = BUDGETS.iter().find(|(what, _)| *what == self.what)?.1;
        Some(Duration::from_secs(budget))
    }

    /// How it came out, in a word or some.
    fn result(&self) -> &'static str {
        match self.budget() {
            _ if !self.passed => "FAILED",
            Some(budget) if self.took > budget => "over budget",
            _ => "",
        }
    }
}

/// Rows, to which several threads add.
pub struct Table {
    since: Instant,
    rows: Mutex<Vec<Row>>,
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
    pub fn add(&self, what: &str, took: Duration, processor: Duration, passed: bool) {
        let row = Row {
            what: what.trim_end().to_owned(),
            took,
            processor,
            passed,
        };
        eprintln!(
            "After {}: {} took {} {}",
            seconds(self.since.elapsed()),
            what.trim(),
            seconds(took),
            row.result(),
        );
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.push(row);
    }

    /// Prints it; returns whether all passed.
    pub fn print(self) -> bool {
        let took = self.since.elapsed();
        let rows = self.rows.into_inner();
        let mut rows = rows.unwrap_or_else(PoisonError::into_inner);
        let passed = rows.iter().all(|row| row.passed);
        // Rows that begin with spaces are parts of the one before.
        let parts = rows.iter().filter(|row| !row.what.starts_with(' '));
        rows.push(Row {
            what: "all".to_owned(),
            took,
            processor: parts.map(|row| row.processor).sum(),
            passed,
        });
        println!(
            "\n{:<44} {:>12} {:>12} {:>12}",
            "", "took", "processors", "budget"
        );
        for row in &rows {
            let what: String = row.what.chars().take(44).collect();
            let processor = match row.processor.is_zero() {
                true => String::new(),
                false => seconds(row.processor),
            };
            println!(
                "{what:<44} {:>12} {processor:>12} {:>12} {}",
                seconds(row.took),
                row.budget().map_or_else(String::new, seconds),
                row.result()
            );
        }
        for row in rows.iter().filter(|row| row.result() == "over budget") {
            println!("warning: {} is over its budget", row.what);
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_over_its_budget_is_pointed_out_and_passes() {
        let row = |what: &str, seconds, passed| Row {
            what: what.to_owned(),
            took: Duration::from_secs(seconds),
            processor: Duration::ZERO,
            passed,
        };
        assert_eq!(row("lint", 1, true).result(), "");
        assert_eq!(row("lint", 3600, true).result(), "over budget");
        assert_eq!(row("lint", 3600, false).result(), "FAILED");
        assert_eq!(row("no budget", 3600, true).result(), "");
        let table = Table::start();
        table.add("lint", Duration::from_secs(3600), Duration::ZERO, true);
        assert!(table.print());
    }
}
