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
mod replace;
mod run;
mod slow_loads;
mod storm;
mod tiers;
mod traps;
mod verdicts;

use std::env;
use std::panic::{self, AssertUnwindSafe};
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

const SUBJECTS: &[(&str, Tests)] = &[
    ("verdicts", verdicts::TESTS),
    ("attachments", attachments::TESTS),
    ("counters", counters::TESTS),
    ("traps", traps::TESTS),
    ("tiers", tiers::TESTS),
    ("hardening", hardening::TESTS),
    ("in_place", in_place::TESTS),
    ("fragments", fragments::TESTS),
    ("odd_packets", odd_packets::TESTS),
    ("nonlinear", nonlinear::TESTS),
    ("run", run::TESTS),
    ("memcg", memcg::TESTS),
    ("observability", observability::TESTS),
    ("permissions", permissions::TESTS),
    ("programs", programs::TESTS),
    ("admission", admission::TESTS),
    ("audit", audit::TESTS),
    ("bad_modules", bad_modules::TESTS),
    ("bad_requests", bad_requests::TESTS),
    ("loader", loader::TESTS),
    ("guest_test", guest_test::TESTS),
    ("faults", faults::TESTS),
    ("fault_injection", fault_injection::TESTS),
    ("killed", killed::TESTS),
    ("slow_loads", slow_loads::TESTS),
    ("fuzz", fuzz::TESTS),
    ("concurrency", concurrency::TESTS),
    ("hotplug", hotplug::TESTS),
    ("storm", storm::TESTS),
    ("replace", replace::TESTS),
    ("hostile", hostile::TESTS),
    ("lifetime", lifetime::TESTS),
];

/// Tests that leave a machine that no other can use: they want one of their own, and to be asked
/// for with `--ignored`.
const LAST: (&str, Tests) = ("lockdown", lockdown::TESTS);

/// Asks for a part of the tests, as in 1/2.
const PART: &str = "NF_WASM_PART";

/// A test that takes longer says so.
const LONG: Duration = Duration::from_secs(20);

/// Lines of the kernel's log that a failed test shows.
const LOG_LINES: usize = 30;

fn main() {
    let mut arguments = Arguments::from_args();
    // The tests share a kernel and its counters.
    arguments.test_threads = Some(1);
    let leaks = Leaks::look();
    let trials = SUBJECTS.iter().flat_map(|(subject, tests)| {
        tests.iter().map(move |(name, test)| {
            Trial::test(format!("{subject}::{name}"), move || check(*test))
        })
    });
    let (part, parts) = part();
    let trials = trials.skip(part - 1).step_by(parts);
    let (subject, tests) = LAST;
    let last = tests.iter().map(|(name, test)| {
        Trial::test(format!("{subject}::{name}"), move || check(test)).with_ignored_flag(true)
    });
    // Where the kernel can tell, the last question is what they left behind, whichever were selected.
    let leaks = leaks.map(|leaks| {
        let name = match &arguments.filter {
            None => "leaks_nothing".to_owned(),
            Some(filter) => format!("{filter}::leaks_nothing"),
        };
        Trial::test(name, move || check(|| leaks.assert_none()))
    });
    let trials = trials.chain(last).chain(leaks);
    let pins = Pins::put();
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    drop(pins);
    conclusion.exit();
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

fn check(test: impl FnOnce()) -> Result<(), Failed> {
    let since = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        test();
        // Whatever the test was about.
        let info = Device::open().info().expect("info");
        assert_eq!(info.packet_path_allocations, 0, "the packet path allocated");
    }));
    if since.elapsed() > LONG {
        println!("took {} s", since.elapsed().as_secs());
    }
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
