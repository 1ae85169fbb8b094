// SPDX-License-Identifier: GPL-2.0-only
//! The corpus of hostile guests: each comes out as it has to, on a small stack, within the memory
//! that the kernel half would give it, and with no allocation for a packet. And each is compiled, by as
//! many steps as it is long.

mod common;

use std::thread;

use common::counting::{counted, RESERVE};
use common::{call, options, Packet};
use nf_wasm_engine::{inspect, Instance, Unsupported};
use nf_wasm_hostile::{cases, declared, heavy, megabyte, packets, setup, slow, Case, Expected};
use nf_wasm_jit::work::STEPS_WITHOUT_A_PAUSE;
use nf_wasm_shared::abi::limits;

/// Bytes for one load, with the formatting of a refusal on top. What counts is measured in the
/// kernel, where the code is another (its flags); `NF_WASM_INFO` reports it. Here the bound is
/// generous, and finds what is out of proportion: recursion, or a frame that grows with the module.
const STACK: usize = if cfg!(debug_assertions) {
    160 << 10
} else {
    40 << 10
};

/// Steps of the compiler's for a byte, at most, of any module that is known. What may be is
/// [`nf_wasm_jit::work::STEPS_FOR_A_BYTE`]; beyond, a module is interpreted.
const MOST_STEPS_FOR_A_BYTE: u64 = 32;
/// And besides: a pause, and what a small function may take.
const MOST_STEPS_FOR_A_MODULE: u64 = 1 << 18;

/// How often the last expected outcome is asked for again.
const AGAIN: usize = 20;

/// Checks all, and names those that came out otherwise.
fn check(cases: &'static [Case]) {
    let failed: Vec<&str> = cases
        .iter()
        .filter(|&case| {
            // Overrunning the stack kills the test; the last name printed says in which case.
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
    let (instance, allocated) = counted(|| Instance::new(wasm, &options(), packet));
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
    let outcomes = match (case.expected, instance) {
        (Expected::Refused(errno, words), Err(refusal)) => {
            assert_eq!(refusal.kind.errno(), errno, "{name}: {refusal}");
            for word in words {
                let text = &refusal.message;
                assert!(text.contains(word), "{name}: no {word:?} in {text:?}");
            }
            // What is refused for what it is takes no more than its own size to be looked at, and
            // a reader of bytes needs no memory to see that there are too many of something.
            if inspect(wasm).is_err() {
                let most = 16 * wasm.len() + (64 << 10);
                assert!(allocated.peak <= most, "{name}: {allocated:?}");
            }
            return;
        }
        (Expected::Refused(..), Ok(_)) => panic!("{name}: not refused"),
        (Expected::Loaded(_), Err(refusal)) => panic!("{name}: {refusal}"),
        (Expected::Loaded(outcomes), Ok(mut instance)) => {
            let last = outcomes.last().expect("an outcome");
            for expected in outcomes.iter().chain(std::iter::repeat_n(last, AGAIN)) {
                let (outcome, allocated) = counted(|| call(&mut instance));
                assert_eq!(outcome.verdict, *expected, "{name}");
                assert!(outcome.fuel_used <= common::FUEL, "{name}");
                match expected {
                    Ok(_) => assert_eq!(allocated.calls, 0, "{name}"),
                    // The headers are the kernel half's for blocks; the reserve has none.
                    Err(_) => assert!(allocated.peak <= RESERVE, "{name}: {allocated:?}"),
                }
            }
            check_compiled(name, wasm, &mut instance, allocated.live);
            outcomes
        }
    };
    assert!(!outcomes.is_empty());
}

/// Compiles it, with as many steps as it is long, and what memory the instance has left.
fn check_compiled(name: &str, wasm: &[u8], instance: &mut Instance<Packet>, live: usize) {
    let (compiled, allocated) = counted(|| instance.compile(wasm));
    let steps = instance.host_mut().pauses * STEPS_WITHOUT_A_PAUSE;
    println!(
        "    {steps} steps, {:.1} for a byte; {} bytes: {:?}",
        steps as f64 / wasm.len() as f64,
        allocated.peak,
        compiled.as_ref().map(|(code, _)| code.insns.len()),
    );
    let most = wasm.len() as u64 * MOST_STEPS_FOR_A_BYTE + MOST_STEPS_FOR_A_MODULE;
    assert!(steps <= most, "{name}: {steps} of {most} steps");
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
