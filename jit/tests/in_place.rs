// SPDX-License-Identifier: GPL-2.0-only
//! Compares filters that only read, on packets in place, with the interpreter on a copy. Unless the
//! code bails out, verdict, trap and fuel are the same. It only accesses the packet's linear bytes,
//! and the words of the context that it declares. For half of the modules, branches are
//! mispredicted.
//!
//! ```text
//! NF_WASM_SEED=7 NF_WASM_CASES=1000000 cargo xtask test host packets_in_place
//! ```

mod common;
#[path = "common/reference.rs"]
mod reference;

use common::vm::Speculation;
use common::Instance;
use nf_wasm_generate::random::Random;
use nf_wasm_generate::Unstructured;
use nf_wasm_generate::{arithmetic, cases};
use nf_wasm_jit::{compile_in_place, Buffer, Environment, Results};
use nf_wasm_shared::abi::guest::Context;
use nf_wasm_shared::abi::trap::Trap;
use reference::Reference;

/// Packets for each module.
const PACKETS: u32 = 6;
/// Bytes of a context.
const CONTEXT: usize = size_of::<Context>();
/// The value of bytes that must not be read.
const POISON: u8 = 0xee;

/// Counts of modules and of packets, by outcome.
#[derive(Debug, Default)]
struct Outcomes {
    modules: u64,
    /// Modules that were compiled for packets in place.
    compiled: u64,
    verdicts: u64,
    traps: u64,
    given_up: u64,
    /// Packets that are shorter than the bytes that the code always reads.
    too_short: u64,
    instructions: u64,
    /// Mispredicted branches, and loads after them.
    mistakes: u64,
    accesses: u64,
}

fn environment<'a>(
    pages: u64,
    parameters: &'a [Option<u32>],
    layout: &'a wasmi::InstanceLayout,
) -> Environment<'a> {
    Environment {
        memory_bytes: pages << 16,
        memory_grows: false,
        table: &layout.table,
        frame_slots: &layout.frame_slots,
        imports: &[],
        fuel: None,
        max_instructions: 1_000_000,
        parameters,
        results: Results::Verdict,
    }
}

/// The linear memory for one packet: with the window copied, and without.
struct Shown {
    copied: Vec<u8>,
    in_place: Vec<u8>,
}

/// Writes the context and the window to copies of `memory`.
fn show(buffer: Buffer, words: u64, context: &[u8], packet: &[u8], memory: &[u8]) -> Shown {
    let (mut copied, mut in_place) = (memory.to_vec(), memory.to_vec());
    let (at, window) = (buffer.context as usize, buffer.window as usize);
    let end = window + buffer.snaplen as usize;
    in_place[at..end].fill(POISON);
    for word in (0..CONTEXT / 4).filter(|word| words & (1 << word) != 0) {
        let word = word * 4..word * 4 + 4;
        in_place[at..][word.clone()].copy_from_slice(&context[word]);
    }
    copied[at..window].copy_from_slice(context);
    copied[window..end].fill(0);
    copied[window..window + packet.len()].copy_from_slice(packet);
    Shown { copied, in_place }
}

fn case(seed: u64, number: u64, outcomes: &mut Outcomes) {
    let mut random = Random::new(seed, number);
    let bytes = random.bytes(4_000);
    let Ok(module) = arithmetic::reader(&mut Unstructured::new(&bytes)) else {
        return;
    };
    outcomes.modules += 1;
    let snaplen = random.choose(&[20, 64, 256, 600]);
    let last = (module.pages << 16) - CONTEXT as u64 - u64::from(snaplen);
    let somewhere = random.below(last);
    let context = random.choose(&[somewhere, last]) as u32 & !7;
    let buffer = Buffer {
        context,
        window: context + CONTEXT as u32,
        snaplen,
    };
    let mut reference = Reference::new(&module.wasm);
    let layout = reference.instance.layout(&mut reference.store).unwrap();
    let parameters = [Some(buffer.context), Some(buffer.window), None];
    let environment = environment(module.pages, &parameters, &layout);
    let Some(code) = compile_in_place(&module.wasm, "f", &environment, buffer) else {
        return;
    };
    outcomes.compiled += 1;
    let globals = arithmetic::GLOBALS.map(|(ty, value)| match ty {
        wasm_encoder::ValType::I64 => value as u64,
        _ => u64::from(value as u32),
    });
    let mut compiled = Instance::of(&code, module.pages as usize, &globals);
    compiled.is_filter = true;
    compiled.speculation = (number % 2 == 1).then(|| Speculation::new(random.clone()));
    let mut memory = random.bytes(reference.memory().len());
    // Small numbers are more likely to be valid indices.
    memory.iter_mut().step_by(2).for_each(|byte| *byte &= 7);
    for _ in 0..PACKETS {
        let len = (random.below(u64::from(snaplen) + 30) as u32).min(snaplen);
        let packet = random.bytes(len as usize);
        let less = random.below(u64::from(len) + 1) as u32;
        let linear = random.choose(&[len, len, less]);
        if code.in_place.window > linear {
            outcomes.too_short += 1;
            continue;
        }
        let words = random.bytes(CONTEXT);
        let shown = show(buffer, code.in_place.context, &words, &packet, &memory);
        reference.memory_mut().copy_from_slice(&shown.copied);
        compiled.set_memory(&shown.in_place);
        compiled.packet = packet[..linear as usize].to_vec();
        let fuel = random.choose(&[20_000, 20_000, 2_000, 100]);
        let arguments = [buffer.context, buffer.window, len].map(u64::from);
        let mut expected = reference.call(arguments, fuel);
        if matches!(expected.0, Ok(2..)) {
            expected.0 = Err(Trap::UnknownVerdict as u32);
        }
        let outcome = compiled.call(arguments, fuel);
        assert!(compiled.memory() == shown.in_place, "memory was written");
        if outcome.result == Err(Trap::MemoryOutOfBounds as u32) {
            outcomes.given_up += 1;
            continue;
        }
        assert_eq!(outcome.result, expected.0, "result, fuel {fuel}");
        if outcome.result != Err(Trap::OutOfFuel as u32) {
            assert_eq!(outcome.fuel, expected.1, "fuel");
        }
        match outcome.result {
            Ok(_) => outcomes.verdicts += 1,
            Err(_) => outcomes.traps += 1,
        }
    }
    outcomes.instructions += compiled.instructions;
    if let Some(speculation) = compiled.speculation {
        outcomes.mistakes += speculation.mistakes;
        outcomes.accesses += speculation.accesses;
    }
}

#[test]
fn packets_in_place_are_decided_as_copies_are() {
    let mut outcomes = Outcomes::default();
    let cases = cases::each(|seed, at| case(seed, at, &mut outcomes));
    eprintln!("{outcomes:?}");
    assert!(outcomes.verdicts > 0 && (cases < 100 || outcomes.accesses > 0));
}
