// SPDX-License-Identifier: GPL-2.0-only
//! Runs the tests in machines. While one kernel is tested, the next is built.

use crate::build::Build;
use crate::error::{Error, Result};
use crate::files::Cache;
use crate::flavour::Flavour;
use crate::table::Table;
use crate::tool;
use crate::vm::{Machine, Run, HARDENED};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// How many machines run at the same time. Each keeps one processor busy for most of its time.
const AT_A_TIME: usize = 2;
/// The maximum duration of a machine's tests: several times their duration on a kernel with checks,
/// without KVM, while other machines run. A machine that hangs must be stopped before the caller of
/// `cargo xtask test` loses patience.
const TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// The same with `--everything`, when no test is left out to save time.
const LONG_TIMEOUT: Duration = Duration::from_secs(3 * 3600);
/// The tests of lockdown. It cannot be undone, so they run last in their machine.
const LOCKDOWN: &str = "lockdown";
/// A machine that prints nothing for this long is stopped. No test is silent for so long, even on a
/// busy host.
const SILENCE: Duration = Duration::from_secs(20 * 60);

/// The tests of one `cargo xtask test`.
pub struct Suites<'a> {
    cache: &'a Cache,
    checkout: &'a Path,
    table: &'a Table,
    /// Only tests whose name contains it.
    filter: Option<&'a String>,
    /// Nothing is left out for time.
    everything: bool,
    /// Each line that a machine prints begins with its kernel's name.
    labelled: bool,
    /// Machines that may still be started.
    free: Mutex<usize>,
    freed: Condvar,
}

impl<'a> Suites<'a> {
    pub fn new(
        cache: &'a Cache,
        checkout: &'a Path,
        table: &'a Table,
        filter: Option<&'a String>,
        everything: bool,
        labelled: bool,
    ) -> Self {
        Self {
            cache,
            checkout,
            table,
            filter,
            everything,
            labelled,
            free: Mutex::new(AT_A_TIME),
            freed: Condvar::new(),
        }
    }

    /// Builds for a kernel, and starts its tests in a thread of `scope`.
    pub fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        kernel: Flavour,
    ) -> Result<()> {
        let name = kernel.name();
        let (since, before) = (Instant::now(), tool::processor_time());
        let build = Build::make(kernel, self.cache.clone(), self.checkout)?;
        let processor = tool::processor_time() - before;
        self.table
            .add(&format!("build {name}"), since.elapsed(), processor, true);
        for (what, time) in &build.durations {
            if *time > Duration::from_secs(1) {
                let what = format!("  {what}");
                self.table.add(&what, *time, Duration::ZERO, true);
            }
        }
        // This and what goes into the machines are made now, while nobody builds: they take the same lock.
        let accelerator = build.accelerator()?;
        let mut machines = Vec::new();
        let commands = commands(kernel, self.filter, self.everything);
        let labelled = self.labelled || commands.len() > 1;
        for (what, words) in commands {
            let label = match (labelled, what) {
                (false, _) => String::new(),
                (true, "") => name.to_owned(),
                (true, what) => format!("{name} {what}"),
            };
            let mut machine = machine(kernel, label, &words);
            if self.everything {
                machine.timeout = LONG_TIMEOUT;
            }
            let run = build.prepare(&machine)?;
            machines.push((what, machine, run));
        }
        let build = Arc::new(build);
        for (what, machine, run) in machines {
            let build = build.clone();
            scope.spawn(move || {
                self.when_there_is_room(|| {
                    let since = Instant::now();
                    let passed = test(&build, &machine, &run, accelerator);
                    if let Err(error) = &passed {
                        eprintln!("{error}");
                    }
                    // This thread has done nothing else.
                    let processor = tool::processor_time();
                    let row = format!("vm {name} {what}");
                    self.table
                        .add(&row, since.elapsed(), processor, passed.is_ok());
                });
            });
        }
        Ok(())
    }

    fn when_there_is_room(&self, work: impl FnOnce()) {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .freed
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        drop(free);
        work();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
    }
}

/// What runs, each in a machine of its own, and what to call it beside the kernel's name. Which subjects
/// a kernel runs, `nf-wasm-vmtest` knows; docs/testing.md says why.
fn commands(
    kernel: Flavour,
    filter: Option<&String>,
    everything: bool,
) -> Vec<(&'static str, Vec<String>)> {
    const TESTS: &str = "nf-wasm-vmtest";
    const EVERYTHING: &str = "NF_WASM_EVERYTHING=1";
    // Filters run as native code where these say nothing of it: what decides packets, or traps at one, is
    // tested once more.
    const INTERPRETED: &str = "verdicts traps storm";
    // A storm loads both tiers, and takes long on a kernel that checks itself.
    const INTERPRETED_SLOWLY: &str = "verdicts traps";
    let tests = |settings: &[&str], rest: &[&str]| {
        let words = ["env"].iter().chain(settings).chain(&[TESTS]).chain(rest);
        words.map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    if let Some(filter) = filter {
        // What is asked for by name is run in full, whatever the kernel.
        let ignored: &[&str] = match filter.starts_with(LOCKDOWN) {
            true => &["--ignored", filter],
            false => &[filter],
        };
        return vec![("", tests(&[EVERYTHING], ignored))];
    }
    if kernel == Flavour::Rt && !everything {
        return vec![("packets", tests(&[], &[]))];
    }
    let everywhere: &[&str] = if everything { &[EVERYTHING] } else { &[] };
    let interpreted = match kernel.is_own() && !everything {
        true => INTERPRETED_SLOWLY,
        false => INTERPRETED,
    };
    let last = format!(
        "NF_WASM_TIER=interp NF_WASM_SUBJECTS='{interpreted}' {} {TESTS} || exit
         exec {TESTS} --ignored {LOCKDOWN}",
        everywhere.join(" ")
    );
    // Two machines share the tests.
    let part = |part| tests(&[&[part], everywhere].concat(), &[]);
    vec![
        ("part 1", part("NF_WASM_PART=1/2")),
        ("part 2", part("NF_WASM_PART=2/2")),
        ("last", vec!["sh".to_owned(), "-c".to_owned(), last]),
    ]
}

/// A machine whose kernel looks hard for errors.
fn machine(kernel: Flavour, label: String, words: &[String]) -> Machine {
    Machine {
        command: words.iter().map(Into::into).collect(),
        label,
        append: match kernel.is_own() {
            true => Vec::new(),
            false => HARDENED.iter().map(|word| (*word).to_owned()).collect(),
        },
        timeout: TIMEOUT,
        silence: SILENCE,
        ..Machine::default()
    }
}

fn test(build: &Build, machine: &Machine, run: &Run, accelerator: &str) -> Result<()> {
    match build.run(machine, run, Some(accelerator))? {
        0 => Ok(()),
        status => Err(Error::new(format!(
            "nf-wasm-vmtest ended with status {status}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdown_comes_last_wherever_all_tests_run() {
        for (kernel, everything) in [
            (Flavour::Stock, false),
            (Flavour::Debug, false),
            (Flavour::Rt, true),
        ] {
            let commands = commands(kernel, None, everything);
            let (what, words) = commands.last().expect("a machine");
            assert_eq!(*what, "last");
            assert!(words[2].ends_with("--ignored lockdown"), "{words:?}");
            assert_eq!(words[2].contains("NF_WASM_EVERYTHING=1"), everything);
        }
    }

    #[test]
    fn what_is_asked_for_by_name_is_run_in_full() {
        for kernel in Flavour::TESTED {
            let commands = commands(kernel, Some(&"storm".to_owned()), false);
            let words = ["env", "NF_WASM_EVERYTHING=1", "nf-wasm-vmtest", "storm"];
            assert_eq!(commands, [("", words.map(str::to_owned).to_vec())]);
        }
    }
}
