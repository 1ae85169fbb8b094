// SPDX-License-Identifier: GPL-2.0-only
//! The tests that run in the virtual machine, as root, with nf_wasm loaded. Takes the arguments of
//! `cargo test`'s binaries; names are `subject::what_holds`.

mod admission;
mod attachments;
mod audit;
mod bad_modules;
mod bad_requests;
mod concurrency;
mod counters;
mod fault_injection;
mod faults;
mod fragments;
mod fuzz;
mod guest_test;
mod hardening;
mod hostile;
mod hotplug;
mod in_place;
mod killed;
mod lifetime;
mod loader;
mod lockdown;
mod memcg;
mod nonlinear;
mod observability;
mod odd_packets;
mod permissions;
mod programs;
mod reload;
mod replace;
mod run;
mod slow_loads;
mod storm;
mod tiers;
mod traps;
mod verdicts;

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nf_wasm_tests::device::Device;
use nf_wasm_tests::kernel;
use nf_wasm_tests::leaks::Leaks;
use nf_wasm_tests::pins::Pins;

/// A subject's tests.
type Tests = &'static [(&'static str, fn())];

/// Lists functions of a module as its tests.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        pub(crate) const TESTS: crate::Tests = &[$((stringify!($test), $test)),*];
    };
}
pub(crate) use tests;

/// On which kernels CI runs a subject. docs/testing.md ("Which kernel runs what") has the reasons.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kernels {
    /// Stock only: programs and permissions, for which the kernel makes no difference.
    Stock,
    /// Stock and debug: memory and locks, but no packet that PREEMPT_RT would treat otherwise.
    Debug,
    /// Stock, debug and rt: packets, CPUs or threads meet.
    All,
}
use Kernels::{All, Debug, Stock};

const SUBJECTS: &[(&str, Kernels, Tests)] = &[
    ("verdicts", All, verdicts::TESTS),
    ("attachments", All, attachments::TESTS),
    ("counters", All, counters::TESTS),
    ("traps", All, traps::TESTS),
    ("reload", All, reload::TESTS),
    ("tiers", Debug, tiers::TESTS),
    ("hardening", Debug, hardening::TESTS),
    ("in_place", All, in_place::TESTS),
    ("fragments", Debug, fragments::TESTS),
    ("odd_packets", Debug, odd_packets::TESTS),
    ("nonlinear", Debug, nonlinear::TESTS),
    ("run", Debug, run::TESTS),
    ("memcg", Debug, memcg::TESTS),
    ("observability", All, observability::TESTS),
    ("permissions", Stock, permissions::TESTS),
    ("programs", Stock, programs::TESTS),
    ("admission", Debug, admission::TESTS),
    ("audit", Debug, audit::TESTS),
    ("bad_modules", Stock, bad_modules::TESTS),
    ("bad_requests", Stock, bad_requests::TESTS),
    ("loader", Stock, loader::TESTS),
    ("guest_test", Debug, guest_test::TESTS),
    ("faults", Debug, faults::TESTS),
    ("fault_injection", Debug, fault_injection::TESTS),
    ("killed", All, killed::TESTS),
    ("slow_loads", All, slow_loads::TESTS),
    ("fuzz", Debug, fuzz::TESTS),
    ("concurrency", All, concurrency::TESTS),
    ("hotplug", All, hotplug::TESTS),
    ("storm", All, storm::TESTS),
    ("replace", All, replace::TESTS),
    ("hostile", Debug, hostile::TESTS),
    ("lifetime", All, lifetime::TESTS),
];

/// Tests that CI runs on other kernels than their subject, because each takes long on a kernel with
/// checks. docs/testing.md says what covers the same code there.
const OTHERWISE: &[(&str, Kernels)] = &[
    ("verdicts::block_telnet_in_rust_at_every_hook", Stock),
    ("verdicts::block_telnet_in_c_at_every_hook", Stock),
    // PREEMPT_RT's spinlocks block too, and are counted.
    (
        "attachments::a_hundred_attachments_are_waited_for_at_once",
        Debug,
    ),
    ("in_place::each_byte_of_the_window_is_the_same", Stock),
    ("in_place::the_end_of_the_window_is_the_same", Stock),
    ("in_place::ports_are_the_same", Stock),
    ("in_place::what_lies_behind_a_packet_is_the_same", Stock),
    ("bad_modules::truncated_modules", Debug),
    ("bad_modules::initialisation_that_fails", Debug),
    ("bad_requests::bad_pointers", Debug),
    ("guest_test::each_allocation_may_fail", Stock),
    ("hostile::as_much_as_the_limits_allow", Stock),
    ("hostile::between_translation_and_the_first_packet", Stock),
    ("hostile::great_numbers_in_few_bytes", Stock),
    ("hostile::memory_of_256_filters", Stock),
    ("hostile::packets_are_shown", Stock),
];

/// Tests that leave a machine that no other can use: they want one of their own, and to be asked
/// for with `--ignored`.
const LAST: (&str, Tests) = ("lockdown", lockdown::TESTS);

/// Asks for a part of the tests, as in 1/2.
const PART: &str = "NF_WASM_PART";

/// Asks for these subjects, separated by spaces, whatever the kernel.
const ONLY: &str = "NF_WASM_SUBJECTS";

/// A test that takes longer says so, and states its reason next to it.
const LONG: Duration = Duration::from_secs(20);

/// The slowest tests that a run names.
const NAMED: usize = 25;

/// Lines of the kernel's log that a failed test shows.
const LOG_LINES: usize = 30;

fn main() {
    let mut arguments = Arguments::from_args();
    // The tests share a kernel and its counters.
    arguments.test_threads = Some(1);
    check_otherwise();
    let leaks = Leaks::look();
    let tests = SUBJECTS.iter().flat_map(|(subject, kernels, tests)| {
        tests.iter().filter_map(move |(name, test)| {
            let name = format!("{subject}::{name}");
            let otherwise = OTHERWISE.iter().find(|(test, _)| *test == name);
            let kernels = otherwise.map_or(*kernels, |(_, kernels)| *kernels);
            is_selected(subject, kernels).then_some((name, *test))
        })
    });
    let trials = tests.map(|(name, test)| Trial::test(name.clone(), move || check(&name, test)));
    let (part, parts) = part();
    let trials = trials.skip(part - 1).step_by(parts);
    let (subject, tests) = LAST;
    let last = tests.iter().map(|(name, test)| {
        let name = format!("{subject}::{name}");
        Trial::test(name.clone(), move || check(&name, test)).with_ignored_flag(true)
    });
    // Where the kernel can tell, the last question is what they left behind, whichever were selected.
    let leaks = leaks.map(|leaks| {
        let name = match &arguments.filter {
            None => "leaks_nothing".to_owned(),
            Some(filter) => format!("{filter}::leaks_nothing"),
        };
        Trial::test(name.clone(), move || check(&name, || leaks.assert_none()))
    });
    let trials = trials.chain(last).chain(leaks);
    let pins = Pins::put();
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    drop(pins);
    print_slowest();
    conclusion.exit();
}

/// A misspelt name in [`OTHERWISE`] would have no effect.
fn check_otherwise() {
    for (name, _) in OTHERWISE {
        let is_test = name.split_once("::").is_some_and(|(subject, name)| {
            let mut rows = SUBJECTS.iter().filter(|row| row.0 == subject);
            rows.any(|(_, _, tests)| tests.iter().any(|(test, _)| *test == name))
        });
        assert!(is_test, "OTHERWISE: there is no test {name}");
    }
}

/// Whether this run has `subject`, which CI runs on `kernels`.
fn is_selected(subject: &str, kernels: Kernels) -> bool {
    if let Ok(only) = env::var(ONLY) {
        return only.split_whitespace().any(|name| name == subject);
    }
    if kernel::is_everything_wanted() {
        return true;
    }
    match kernels {
        All => true,
        Debug => !kernel::is_realtime(),
        Stock => !kernel::is_realtime() && !kernel::is_slow(),
    }
}

/// What each test took.
static TIMES: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

fn print_slowest() {
    let mut times = std::mem::take(&mut *TIMES.lock().unwrap_or_else(PoisonError::into_inner));
    times.sort();
    println!("Slowest tests:");
    for (time, name) in times.iter().rev().take(NAMED) {
        println!("{:>7.1} s {name}", time.as_secs_f32());
    }
}

/// Which part of the tests this is, counted from 1, and of how many: several machines may share them.
fn part() -> (usize, usize) {
    let Ok(text) = env::var(PART) else {
        return (1, 1);
    };
    let part = text.split_once('/').and_then(|(part, parts)| {
        let (part, parts) = (part.parse().ok()?, parts.parse().ok()?);
        (1..=parts).contains(&part).then_some((part, parts))
    });
    part.unwrap_or_else(|| panic!("{PART}={text}: as in 1/2"))
}

fn check(name: &str, test: impl FnOnce()) -> Result<(), Failed> {
    let since = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        test();
        // Whatever the test was about.
        let info = Device::open().info().expect("info");
        assert_eq!(info.packet_path_allocations, 0, "the packet path allocated");
    }));
    let time = since.elapsed();
    if time > LONG {
        println!("took {} s", time.as_secs());
    }
    let mut times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    times.push((time, name.to_owned()));
    drop(times);
    outcome.map_err(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without text");
        let log = kernel::log_tail(LOG_LINES);
        Failed::from(format!("{text}\nThe end of the kernel's log:\n{log}"))
    })
}
