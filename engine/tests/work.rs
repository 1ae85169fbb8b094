// SPDX-License-Identifier: GPL-2.0-only
//! The work of a compilation is linear in the size of the Wasm module, and a compilation can be
//! aborted. Work is counted in yields of the compiler ([`nf_wasm_jit::work`]), whose number does
//! not depend on the machine's speed. `hostile.rs` has a bound for the whole corpus.

mod common;

use common::{options, Packet};
use nf_wasm_engine::{Snapshot, Unsupported};
use nf_wasm_hostile::slow;
use nf_wasm_jit::{compile_in_place_with, Buffer, Environment, Results, Work};

/// Compiles a filter, and aborts after `max` yields. Returns the number of yields, and whether
/// there is code for packets in place, or the reason why there is no code.
fn compile(wasm: &[u8], max: u64) -> (u64, Result<bool, Unsupported>) {
    let mut host = Packet::new(&[]);
    host.max_pauses = max;
    let mut snapshot = Snapshot::new(wasm, &options(), host).expect("a filter");
    let outcome = snapshot
        .compile(wasm, common::FUEL as u32)
        .map(|compiled| compiled.in_place.is_some());
    (snapshot.host_mut().pauses, outcome)
}

/// The expected outcome for the large module of a shape.
fn expected(name: &str) -> Result<bool, Unsupported> {
    match name {
        "loops with 32 parameters around each other" => Err(Unsupported::Frame),
        "branches with 32 values that change places" => Err(Unsupported::Size),
        "pointers handed on in a loop with br_tables" => Ok(true),
        _ => Ok(false),
    }
}

#[test]
fn work_grows_as_the_module_does() {
    for shape in slow::SHAPES {
        let [small, large] = shape.sizes.map(|size| {
            let wasm = (shape.module)(size);
            let (pauses, outcome) = compile(&wasm, u64::MAX);
            (wasm.len() as u64, pauses, outcome)
        });
        // The yields grow like the bytes, with a margin of a half.
        let limit = (small.1 + 1) * large.0.div_ceil(small.0) * 3 / 2 + 2;
        assert!(large.1 <= limit, "{}: {small:?} {large:?}", shape.name);
        // A shape that is refused earlier than expected would not test the later stages.
        assert_eq!(large.2, expected(shape.name), "{}", shape.name);
    }
}

#[test]
fn a_compilation_that_nobody_wants_is_aborted() {
    let named = |shape: &&slow::Shape| shape.name == "checks that are raised";
    let shape = slow::SHAPES.iter().find(named).expect("the shape");
    let wasm = (shape.module)(8_000);
    let all = compile(&wasm, u64::MAX);
    assert!(all.0 > 3 && all.1.is_ok(), "{all:?}");
    assert_eq!(compile(&wasm, 2), (3, Err(Unsupported::Aborted)));
}

#[test]
fn code_for_packets_in_place_is_given_up_too() {
    let operators = "(drop (i32.add (local.get 0) (local.get 2)))".repeat(1_000);
    let wasm = wat::parse_str(format!(
        r#"(module (func (export "nfw_filter") (param i32 i32 i32) (result i32)
             {operators} (i32.const 1)))"#
    ))
    .expect("a module");
    let environment = Environment {
        memory_bytes: 65_536,
        memory_grows: false,
        table: &[],
        frame_slots: &[1_000],
        imports: &[],
        fuel: None,
        max_instructions: 1 << 19,
        parameters: &[None; 3],
        results: Results::Verdict,
    };
    let buffer = Buffer {
        context: 0,
        window: 48,
        snaplen: 64,
    };
    let in_place = |is_wanted: bool| {
        let pause = || is_wanted;
        let work = Work::new(wasm.len(), &pause);
        let code = compile_in_place_with(&wasm, "nfw_filter", &environment, buffer, &work);
        code.map(|code| code.is_some())
    };
    assert_eq!(in_place(true), Ok(true));
    assert_eq!(in_place(false), Err(Unsupported::Aborted));
}
