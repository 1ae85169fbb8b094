// SPDX-License-Identifier: GPL-2.0-only
//! The work of compiling a module grows as its bytes do, whatever it is; and ends when nobody wants it any
//! more. Work is counted by the pauses that the compiler offers ([`nf_wasm_jit::work`]): the count is the
//! same on every machine. `hostile.rs` has the bound that holds for all modules of the corpus.

mod common;

use common::{options, Packet};
use nf_wasm_engine::{Instance, Unsupported};
use nf_wasm_hostile::slow;
use nf_wasm_jit::{compile_in_place_with, Buffer, Environment, Results, Work};

/// Compiles a filter, giving up after so many pauses. Returns the pauses, and why not if it is not.
fn compile(wasm: &[u8], most: u64) -> Option<(u64, Option<Unsupported>)> {
    let mut host = Packet::new(&[]);
    host.max_pauses = most;
    let mut instance = Instance::new(wasm, &options(), host).ok()?;
    let why = instance.compile(wasm).err();
    Some((instance.host_mut().pauses, why))
}

#[test]
fn work_grows_as_the_module_does() {
    for shape in slow::SHAPES {
        let [small, large] = shape.sizes.map(|size| {
            let wasm = (shape.module)(size);
            let (pauses, why) = compile(&wasm, u64::MAX).expect(shape.name);
            println!(
                "{} {size}: {} bytes, {pauses} pauses {why:?}",
                shape.name,
                wasm.len()
            );
            (wasm.len() as u64, pauses)
        });
        // As many more pauses as there are more bytes, and half as many again.
        let expected = (small.1 + 1) * large.0.div_ceil(small.0) * 3 / 2 + 2;
        assert!(large.1 <= expected, "{}: {small:?} {large:?}", shape.name);
    }
}

#[test]
fn who_does_not_want_it_any_more_waits_no_longer() {
    let wasm = (slow::SHAPES[2].module)(8_000);
    let all = compile(&wasm, u64::MAX).expect("a filter");
    assert!(all.0 > 3 && all.1.is_none(), "{all:?}");
    assert_eq!(compile(&wasm, 2), Some((3, Some(Unsupported::Aborted))));
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
        global_stride: 8,
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
