// SPDX-License-Identifier: GPL-2.0-only
//! The corpus of hostile guests: each has the expected outcome, on a small stack, and within the
//! memory that the kernel half allows. A packet causes no allocation, except that a trap may use
//! its reserve. Each that is not refused is also compiled, in a number of steps that is
//! proportional to its size.

mod common;

use std::thread;

use common::counting::{counted, RESERVE};
use common::{call, options, Packet};
use nf_wasm_engine::{inspect, Snapshot, Unsupported};
use nf_wasm_hostile::{cases, declared, heavy, megabyte, packets, setup, slow, Case, Expected};
use nf_wasm_jit::work::STEPS_WITHOUT_A_PAUSE;
use nf_wasm_shared::abi::limits;

/// Bytes of stack for one load, including the formatting of a refusal. The real use is measured in
/// the kernel, where compiler flags differ, and `NF_WASM_INFO` reports it. This generous bound only
/// finds gross errors: recursion, or a frame that grows with the module.
const STACK: usize = if cfg!(debug_assertions) {
    160 << 10
} else {
    40 << 10
};

/// Maximum compile steps per byte, for the modules of the corpus. The limit for all modules is
/// [`nf_wasm_jit::work::STEPS_FOR_A_BYTE`]. Beyond it, a module is interpreted.
const MAX_CORPUS_STEPS_FOR_A_BYTE: u64 = 32;
/// Additional steps for any module: steps are counted in whole intervals between yields, and even a
/// small function has a fixed cost.
const MAX_CORPUS_STEPS_FOR_A_MODULE: u64 = 1 << 18;

/// How often the last expected outcome is checked again.
const AGAIN: usize = 20;

/// Checks all cases, and names those with an unexpected outcome.
fn check(cases: &'static [Case]) {
    let failed: Vec<&str> = cases
        .iter()
        .filter(|&case| {
            // A stack overflow kills the test. The last printed name is then the case.
            println!("{}", case.name);
            let wasm = (case.module)();
            let thread = thread::Builder::new().stack_size(STACK);
            let thread = thread.spawn(move || check_wasm(case, &wasm));
            thread.unwrap().join().is_err()
        })
        .map(|case| case.name)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn check_wasm(case: &Case, wasm: &[u8]) {
    let name = case.name;
    let packet = Packet::new(&[0x5a; 600]);
    let (snapshot, allocated) = counted(|| Snapshot::new(wasm, &options(), packet.clone()));
    let budget = limits::instance_bytes(wasm.len());
    assert!(
        allocated.peak <= budget,
        "{name}: {} of {budget} bytes",
        allocated.peak
    );
    println!(
        "    {} bytes of module, {} of {budget} bytes of memory, {} times of it",
        wasm.len(),
        allocated.peak,
        (allocated.peak / wasm.len().max(1)),
    );
    let outcomes = match (case.expected, snapshot) {
        (Expected::Refused(errno, words), Err(refusal)) => {
            assert_eq!(refusal.kind.errno(), errno, "{name}: {refusal}");
            for word in words {
                let text = &refusal.message;
                assert!(text.contains(word), "{name}: no {word:?} in {text:?}");
            }
            // The inspection of a refused module does not allocate more than a multiple of its
            // size. A count over a limit is found without allocations.
            if inspect(wasm).is_err() {
                let max = 16 * wasm.len() + (64 << 10);
                assert!(allocated.peak <= max, "{name}: {allocated:?}");
            }
            return;
        }
        (Expected::Refused(..), Ok(_)) => panic!("{name}: not refused"),
        (Expected::Loaded(_), Err(refusal)) => panic!("{name}: {refusal}"),
        (Expected::Loaded(outcomes), Ok(mut snapshot)) => {
            let (instance, copied) = counted(|| snapshot.instance(packet));
            assert!(copied.peak <= budget, "{name}: {copied:?}");
            let mut instance = instance.expect("an instance");
            let last = outcomes.last().expect("an outcome");
            for expected in outcomes.iter().chain(std::iter::repeat_n(last, AGAIN)) {
                let (outcome, allocated) = counted(|| call(&mut instance));
                assert_eq!(outcome.verdict, *expected, "{name}");
                assert!(outcome.fuel_used <= common::FUEL, "{name}");
                match expected {
                    Ok(_) => assert_eq!(allocated.calls, 0, "{name}"),
                    // `peak` includes headers, but blocks in the reserve have none. So this is
                    // strict.
                    Err(_) => assert!(allocated.peak <= RESERVE, "{name}: {allocated:?}"),
                }
            }
            check_compiled(name, wasm, &mut snapshot, allocated.live);
            outcomes
        }
    };
    assert!(!outcomes.is_empty());
}

/// Compiles a module. Checks the steps against its size, and the memory against the rest of the
/// budget.
fn check_compiled(name: &str, wasm: &[u8], snapshot: &mut Snapshot<Packet>, live: usize) {
    let (compiled, allocated) = counted(|| snapshot.compile(wasm, common::FUEL as u32));
    let steps = snapshot.host_mut().pauses * STEPS_WITHOUT_A_PAUSE;
    println!(
        "    {steps} steps, {:.1} for a byte; {} bytes: {:?}",
        steps as f64 / wasm.len() as f64,
        allocated.peak,
        compiled.as_ref().map(|it| it.code.insns.len()),
    );
    let max = wasm.len() as u64 * MAX_CORPUS_STEPS_FOR_A_BYTE + MAX_CORPUS_STEPS_FOR_A_MODULE;
    assert!(steps <= max, "{name}: {steps} of {max} steps");
    assert_ne!(compiled.err(), Some(Unsupported::Work), "{name}");
    let budget = limits::instance_bytes(wasm.len());
    assert!(
        live + allocated.peak <= budget,
        "{name}: {live} and {allocated:?}"
    );
}

#[test]
fn great_numbers_in_few_bytes() {
    check(declared::CASES);
}

#[test]
fn as_much_as_the_limits_allow() {
    check(heavy::CASES);
}

#[test]
fn modules_as_large_as_may_be() {
    check(megabyte::CASES);
}

#[test]
fn what_compilers_might_do_again_and_again() {
    check(slow::CASES);
}

#[test]
fn between_translation_and_the_first_packet() {
    check(setup::CASES);
}

#[test]
fn packets_are_shown() {
    check(packets::CASES);
}

#[test]
fn names_are_told_apart() {
    let mut names: Vec<&str> = cases().map(|case| case.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
