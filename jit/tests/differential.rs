// SPDX-License-Identifier: GPL-2.0-only
//! Compiled code beside the interpreter: result, trap, fuel, memory and globals are the same. Of half of
//! the modules branches are mispredicted, too.
//!
//! ```text
//! NF_WASM_SEED=7 NF_WASM_CASES=1000000 cargo xtask test host compiled_modules
//! ```

mod common;
#[path = "common/reference.rs"]
mod reference;

use common::vm::Speculation;
use common::Instance;
use nf_wasm_abi::trap::Trap;
use nf_wasm_generate::random::Random;
use nf_wasm_generate::Unstructured;
use nf_wasm_generate::{arithmetic, cases};
use nf_wasm_jit::{compile, Environment, Results, Unsupported};
use reference::Reference;

const UNKNOWN_VERDICT: u32 = Trap::UnknownVerdict as u32;

/// Calls of each module.
const CALLS: u32 = 6;

/// What became of modules.
#[derive(Debug, Default)]
struct Outcomes {
    /// Calls by trap, results last.
    calls: [u32; 16],
    instructions: u64,
    /// Mispredicted branches, and loads and stores behind them.
    mistakes: u64,
    accesses: u64,
}

fn case(seed: u64, number: u64, outcomes: &mut Outcomes) {
    let mut random = Random::new(seed, number);
    let bytes = random.bytes(3_000);
    let mut u = Unstructured::new(&bytes);
    let Ok(wasm) = arithmetic::module(&mut u) else {
        return;
    };
    let mut reference = Reference::new(&wasm);
    let layout = reference.instance.layout(&mut reference.store).unwrap();
    let memory_bytes = reference.memory().len() as u64;
    // As filters are compiled: two parameters are known, and the result is a verdict.
    let is_filter = random.below(2) == 0;
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
        global_stride: 8,
        most_instructions: 1_000_000,
        parameters: &known,
        results: if is_filter {
            Results::Verdict
        } else {
            Results::Stay
        },
    };
    let code = match compile(&wasm, "f", &environment) {
        Ok(code) => code,
        Err(Unsupported::Frame) => return,
        Err(error) => panic!("{error}"),
    };
    let globals = arithmetic::GLOBALS.map(|(ty, value)| match ty {
        wasm_encoder::ValType::I64 => value as u64,
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
        let outcome = compiled.call(arguments, fuel);
        assert_eq!(
            outcome.result, expected.0,
            "result of {arguments:?}, fuel {fuel}"
        );
        if outcome.result != Err(9) {
            assert_eq!(outcome.fuel, expected.1, "fuel for {arguments:?}");
        }
        assert!(compiled.memory() == reference.memory(), "memory");
        for (at, pointer) in layout.globals.iter().enumerate() {
            // SAFETY: That is where the value is, and nobody writes to it.
            let value: u64 = unsafe { pointer.cast().read() };
            assert_eq!(compiled.global(at), value, "global {at}");
        }
        outcomes.calls[outcome.result.map_or_else(|trap| trap as usize, |_| 15)] += 1;
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
    eprintln!("{cases} modules: {outcomes:?}");
    assert!(outcomes.calls[15] > 0 && (cases < 2 || outcomes.accesses > 0));
}
