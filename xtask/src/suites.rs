// SPDX-License-Identifier: GPL-2.0-only
//! The tests that run in machines: those of one kernel go on while the next kernel is built.

use crate::build::Build;
use crate::error::{Error, Result};
use crate::files::Cache;
use crate::flavour::Flavour;
use crate::table::Table;
use crate::vm::{Machine, Run, HARDENED};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// Machines at a time. Each keeps one processor busy for most of its time.
const AT_A_TIME: usize = 2;
/// How long the tests of a machine may take: twice what they take on a kernel that checks itself, beside
/// others, without KVM. What hangs has to be over before whoever waits for all of it gives up.
const TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// Lockdown cannot be undone, and has a machine of its own.
const LAST: &str = "lockdown";
/// Longer than any test is silent, on a machine that is shared with others.
const SILENCE: Duration = Duration::from_secs(20 * 60);

/// The tests of one `cargo xtask test`.
pub struct Suites<'a> {
    cache: &'a Cache,
    checkout: &'a Path,
    table: &'a Table,
    /// Only tests whose name contains it.
    filter: Option<&'a String>,
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
        labelled: bool,
    ) -> Self {
        Self {
            cache,
            checkout,
            table,
            filter,
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
        let since = Instant::now();
        let build = Build::make(kernel, self.cache.clone(), self.checkout)?;
        self.table
            .add(&format!("build {name}"), since.elapsed(), true);
        for (what, time) in &build.durations {
            if *time > Duration::from_secs(1) {
                self.table.add(&format!("  {what}"), *time, true);
            }
        }
        // This and what goes into the machines are made now, while nobody builds: they take the same lock.
        let accelerator = build.accelerator()?;
        let mut machines = Vec::new();
        let commands = commands(self.filter);
        let labelled = self.labelled || commands.len() > 1;
        for (what, words) in commands {
            let label = match (labelled, what) {
                (false, _) => String::new(),
                (true, "") => name.to_owned(),
                (true, what) => format!("{name} {what}"),
            };
            let machine = machine(kernel, label, &words);
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
                    let row = format!("vm {name} {what}");
                    self.table.add(&row, since.elapsed(), passed.is_ok());
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

/// What runs, each in a machine of its own, and what to call it beside the kernel's name.
fn commands(filter: Option<&String>) -> Vec<(&str, Vec<&str>)> {
    const TESTS: &str = "nf-wasm-vmtest";
    // Filters run as native code where these say nothing of it: what decides packets, or traps at one, is
    // tested once more.
    const INTERPRETED: &str = "export NF_WASM_TIER=interp
        for name in verdicts:: traps storm::; do nf-wasm-vmtest $name || exit; done";
    match filter.map(String::as_str) {
        // Two machines share the tests.
        None => vec![
            ("part 1", vec!["env", "NF_WASM_PART=1/2", TESTS]),
            ("part 2", vec!["env", "NF_WASM_PART=2/2", TESTS]),
            ("interpreted", vec!["sh", "-c", INTERPRETED]),
            (LAST, vec![TESTS, "--ignored", LAST]),
        ],
        Some(filter) if filter.starts_with(LAST) => vec![("", vec![TESTS, "--ignored", filter])],
        Some(filter) => vec![("", vec![TESTS, filter])],
    }
}

/// A machine whose kernel looks hard for errors.
fn machine(kernel: Flavour, label: String, words: &[&str]) -> Machine {
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
