// SPDX-License-Identifier: GPL-2.0-only
//! Compiling takes as much work as the module has bytes, whatever the module is. Work is counted in
//! steps ([`nf_wasm_jit::work`]), not in time: the count is the same on every machine.

mod common;

use common::options;
use nf_wasm_engine::{Clock, Host, Instance, Unsupported};
use nf_wasm_hostile::{cases, slow, Expected};
use nf_wasm_jit::work::STEPS_WITHOUT_A_PAUSE;
use nf_wasm_jit::{compile_in_place_with, Buffer, Environment, Results, Work};

/// Steps for a byte, at most, of any module that is known. What may be is
/// [`nf_wasm_jit::work::STEPS_FOR_A_BYTE`]; beyond, a module is interpreted.
const MOST_FOR_A_BYTE: u64 = 32;
/// And besides: a pause, and what a small function may take.
const MOST_FOR_A_MODULE: u64 = 1 << 18;

/// A host that counts pauses, and wants no more than so many.
#[derive(Clone, Copy)]
struct Pauses {
    count: u64,
    most: u64,
}

impl Host for Pauses {
    fn load(&mut self, _: u32, to: &mut [u8]) -> Result<u32, i32> {
        to.fill(0);
        Ok(0)
    }

    fn log(&mut self, _: &[u8]) {}

    fn now(&mut self, _: Clock) -> u64 {
        0
    }

    fn mark(&mut self) -> u32 {
        0
    }

    fn set_mark(&mut self, _: u32) {}

    fn pause(&mut self) -> bool {
        self.count += 1;
        self.count <= self.most
    }
}

/// Compiles a filter, giving up after so many pauses. Returns the pauses, and why not if it is not.
fn compile(wasm: &[u8], most: u64) -> Option<(u64, Option<Unsupported>)> {
    let host = Pauses { count: 0, most };
    let mut instance = Instance::new(wasm, &options(), host).ok()?;
    let why = instance.compile(wasm).err();
    Some((instance.host_mut().count, why))
}

fn most(bytes: usize) -> u64 {
    bytes as u64 * MOST_FOR_A_BYTE + MOST_FOR_A_MODULE
}

#[test]
fn hostile_modules_take_as_much_as_they_are_long() {
    let mut compiled = 0;
    let mut slow = Vec::new();
    for case in cases() {
        if matches!(case.expected, Expected::Refused(..)) {
            continue;
        }
        let wasm = (case.module)();
        let (pauses, why) = compile(&wasm, u64::MAX).expect(case.name);
        let steps = pauses * STEPS_WITHOUT_A_PAUSE;
        println!(
            "{:<60} {:>8} bytes {steps:>10} steps, {:.1} for a byte {why:?}",
            case.name,
            wasm.len(),
            steps as f64 / wasm.len() as f64
        );
        if steps > most(wasm.len()) || why == Some(Unsupported::Work) {
            slow.push(case.name);
        }
        compiled += usize::from(why.is_none());
    }
    assert!(slow.is_empty(), "{slow:?}");
    assert!(compiled > 60, "{compiled}");
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
    assert_eq!(compile(&wasm, 2), Some((3, Some(Unsupported::GivenUp))));
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
        most_instructions: 1 << 19,
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
    assert_eq!(in_place(false), Err(Unsupported::GivenUp));
}
