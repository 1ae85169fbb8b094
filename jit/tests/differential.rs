// SPDX-License-Identifier: GPL-2.0-only
//! Compares compiled code with the interpreter: results, trap, fuel, memory and globals are the
//! same. For half of the modules, the test's eBPF machine also simulates mispredicted branches.
//!
//! ```text
//! NF_WASM_SEED=7 NF_WASM_CASES=1000000 cargo xtask test host compiled_modules
//! ```

mod common;
#[path = "common/reference.rs"]
mod reference;

use common::vm::Speculation;
use common::Instance;
use nf_wasm_generate::random::Random;
use nf_wasm_generate::Unstructured;
use nf_wasm_generate::{arithmetic, cases};
use nf_wasm_jit::{compile, Environment, Results, Unsupported};
use nf_wasm_shared::abi::trap::Trap;
use reference::Reference;
use wasm_encoder::ValType::{I32, I64};

const UNKNOWN_VERDICT: u32 = Trap::UnknownVerdict as u32;

/// Calls of each module.
const CALLS: u32 = 6;

/// Bytes of random data that a module is generated from.
const BYTES: usize = 4_000;
/// If at least this many modules run, the test also checks how many were compiled, and how many
/// calls returned.
const MANY: u64 = 200;

/// Counts of modules and of calls, by outcome.
#[derive(Debug, Default)]
struct Outcomes {
    modules: u64,
    compiled: u64,
    with_long_jumps: u64,
    results: u64,
    /// Calls that trapped, by the trap's number.
    traps: [u64; Trap::COUNT],
    instructions: u64,
    /// Mispredicted branches, and loads and stores after them.
    mistakes: u64,
    accesses: u64,
}

fn case(seed: u64, number: u64, outcomes: &mut Outcomes) {
    let mut random = Random::new(seed, number);
    let bytes = random.bytes(BYTES);
    let mut u = Unstructured::new(&bytes);
    let Ok(module) = arithmetic::module(&mut u) else {
        return;
    };
    outcomes.modules += 1;
    let mut reference = Reference::new(&module.wasm);
    let layout = reference.instance.layout(&mut reference.store).unwrap();
    let memory_bytes = module.pages << 16;
    assert_eq!(reference.memory().len() as u64, memory_bytes);
    // As for filters: two parameters are known, and the result is a verdict.
    let is_filter = module.results == [I32] && random.below(2) == 0;
    let mut argument = || match random.below(3) {
        0 => random.below(100),
        1 => random.below(0x2_0000),
        _ => random.next() & 0xffff_ffff,
    };
    let mut known = [Some(argument() as u32), Some(argument() as u32), None];
    if !is_filter {
        known = [None; 3];
    }
    let environment = Environment {
        memory_bytes,
        memory_grows: false,
        table: &layout.table,
        frame_slots: &layout.frame_slots,
        imports: &[],
        fuel: None,
        max_instructions: 1_000_000,
        parameters: &known,
        results: if is_filter {
            Results::Verdict
        } else {
            Results::Stay
        },
    };
    let code = match compile(&module.wasm, "f", &environment) {
        Ok(code) => code,
        Err(Unsupported::Frame) => return,
        Err(error) => panic!("{error}"),
    };
    outcomes.compiled += 1;
    outcomes.with_long_jumps += u64::from(code.has_long_jumps);
    let globals = arithmetic::GLOBALS.map(|(ty, value)| match ty {
        I64 => value as u64,
        _ => u64::from(value as u32),
    });
    let mut compiled = Instance::of(&code, memory_bytes as usize >> 16, &globals);
    compiled.is_filter = is_filter;
    compiled.speculation = (number % 2 == 1).then(|| Speculation::new(random.clone()));
    for _ in 0..CALLS {
        let mut argument = || match random.below(3) {
            0 => random.below(100),
            1 => random.below(0x2_0000),
            _ => random.next() & 0xffff_ffff,
        };
        let arguments = known.map(|it| it.map_or_else(&mut argument, u64::from));
        let fuel = random.choose(&[20_000, 20_000, 2_000, 100]);
        let mut expected = reference.call(arguments, fuel);
        if is_filter && matches!(expected.0, Ok(2..)) {
            expected.0 = Err(UNKNOWN_VERDICT);
        }
        let mut outcome = compiled.call(arguments, fuel);
        if module.results.is_empty() {
            // Without a result, the slot holds the first argument, or is unused.
            outcome.result = outcome.result.map(|_| 0);
        }
        assert_eq!(
            outcome.result, expected.0,
            "result of {arguments:?}, fuel {fuel}"
        );
        if outcome.result.is_ok() && !is_filter {
            let results = compiled.results(module.results.len());
            assert_eq!(results, reference.results, "results of {arguments:?}");
        }
        if outcome.result != Err(9) {
            assert_eq!(outcome.fuel, expected.1, "fuel for {arguments:?}");
        }
        assert!(compiled.memory() == reference.memory(), "memory");
        for (at, pointer) in layout.globals.iter().enumerate() {
            // SAFETY: The pointer is the value's address, and nobody writes to it.
            let value: u64 = unsafe { pointer.cast().read() };
            assert_eq!(compiled.global(at), value, "global {at}");
        }
        match outcome.result {
            Ok(_) => outcomes.results += 1,
            Err(trap) => outcomes.traps[trap as usize] += 1,
        }
    }
    outcomes.instructions += compiled.instructions;
    if let Some(speculation) = compiled.speculation {
        outcomes.mistakes += speculation.mistakes;
        outcomes.accesses += speculation.accesses;
    }
}

#[test]
fn compiled_modules_do_as_interpreted_ones() {
    let mut outcomes = Outcomes::default();
    let cases = cases::each(|seed, at| case(seed, at, &mut outcomes));
    eprintln!("{outcomes:?}");
    assert!(cases < 2 || outcomes.accesses > 0);
    if outcomes.modules >= MANY {
        assert!(outcomes.compiled * 100 >= outcomes.modules * 95);
        let calls = outcomes.results + outcomes.traps.iter().sum::<u64>();
        assert!(outcomes.results * 100 >= calls * 30);
    }
}
