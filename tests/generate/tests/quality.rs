// SPDX-License-Identifier: GPL-2.0-only
//! Checks the generators: most modules load, every shape occurs, and a seed gives the same modules
//! again.

#[path = "../../../jit/tests/common/reference.rs"]
mod reference;
mod shapes;

use std::collections::BTreeMap;

use nf_wasm_engine::guest_test::Session;
use nf_wasm_engine::{Instance, Options};
use nf_wasm_generate::case::{Case, Filters};
use nf_wasm_generate::random::Random;
use nf_wasm_generate::{arithmetic, smith, Unstructured};
use nf_wasm_jit::{compile, Environment, Results};
use nf_wasm_shared::abi::limits::{INIT_FUEL, MEMORY_PAGES};
use nf_wasm_test_host::Packet;
use reference::Reference;

const CASES: u64 = 400;
/// How many modules are searched for shapes.
const SHAPED: u64 = 1_500;
/// How many modules are compiled and called.
const RUN: u64 = 500;

/// Percentage of the modules that load. Prints why others do not.
fn loaded(make: impl Fn(&mut Unstructured<'_>) -> Vec<u8>) -> u64 {
    let options = Options {
        capabilities: nf_wasm_shared::abi::capability::ALL_BITS,
        snaplen: 256,
        memory_pages: MEMORY_PAGES,
        init_fuel: INIT_FUEL,
    };
    let mut refusals = BTreeMap::new();
    let mut loaded = 0;
    for index in 0..CASES {
        let bytes = Random::new(1, index).bytes(6_000);
        let wasm = make(&mut Unstructured::new(&bytes));
        match Instance::new(&wasm, &options, Packet::none()) {
            Ok(_) => loaded += 1,
            Err(refusal) => {
                let text = refusal.message.replace(|c: char| c.is_ascii_digit(), "");
                *refusals.entry(text).or_insert(0) += 1;
            }
        }
    }
    println!("{loaded} of {CASES}; {refusals:#?}");
    loaded * 100 / CASES
}

#[test]
fn most_of_wasm_smiths_modules_load() {
    assert!(loaded(|u| smith::inside(u).expect("bytes")) >= 60);
}

#[test]
fn most_programs_load() {
    assert!(loaded(|u| Case::new(u, Filters::Programs, false).expect("bytes").wasm) >= 60);
}

/// Module `index` of a generator.
fn arithmetic_module(
    index: u64,
    make: fn(&mut Unstructured<'_>) -> nf_wasm_generate::Result<arithmetic::Module>,
) -> arithmetic::Module {
    let bytes = Random::new(1, index).bytes(4_000);
    make(&mut Unstructured::new(&bytes)).expect("bytes")
}

#[test]
fn every_shape_occurs() {
    let (mut all, mut reading) = (shapes::Counts::new(), shapes::Counts::new());
    for index in 0..SHAPED {
        shapes::count(&arithmetic_module(index, arithmetic::module).wasm, &mut all);
        shapes::count(
            &arithmetic_module(index, arithmetic::reader).wasm,
            &mut reading,
        );
    }
    println!("of {SHAPED}: {all:#?}, of those that read {reading:#?}");
    let missing = |counts: &shapes::Counts, names: &[&'static str]| {
        let is_missing = |name: &&&str| !counts.contains_key(**name);
        names.iter().filter(is_missing).copied().collect::<Vec<_>>()
    };
    let everywhere = shapes::EVERYWHERE;
    assert_eq!(missing(&all, &everywhere), [""; 0]);
    assert_eq!(missing(&all, &shapes::OTHERS), [""; 0]);
    assert_eq!(
        missing(&reading, &everywhere),
        [""; 0],
        "modules that only read"
    );
}

#[test]
fn most_modules_compile_and_return() {
    let (mut compiled, mut long, mut large) = (0, 0, 0);
    let (mut returns, mut small) = (0, 0);
    for index in 0..RUN {
        let module = arithmetic_module(index, arithmetic::module);
        small += u64::from(module.wasm.len() < 4_000);
        // A module over a limit would be refused in the virtual machine.
        let taken = Session::new().instantiate(&module.wasm, INIT_FUEL);
        assert_eq!(taken.map(|it| it.fuel_used), Ok(0), "module {index}");
        let mut reference = Reference::new(&module.wasm);
        let layout = reference.instance.layout(&mut reference.store).unwrap();
        let environment = Environment {
            memory_bytes: module.pages << 16,
            memory_grows: false,
            table: &layout.table,
            frame_slots: &layout.frame_slots,
            imports: &[],
            fuel: None,
            max_instructions: 1_000_000,
            parameters: &[],
            results: Results::Stay,
        };
        if let Ok(code) = compile(&module.wasm, "f", &environment) {
            compiled += 1;
            long += u64::from(code.has_long_jumps);
            large += u64::from(layout.frame_slots.iter().any(|slots| *slots > 200));
        }
        // At least one call returns, with arguments of several sizes.
        let sizes = [[0, 1, 2], [7, 64, 1_000], [0xffff, 0x1_0000, 0xffff_fff0]];
        returns += u64::from(
            sizes
                .iter()
                .any(|arguments| reference.call(*arguments, 20_000).0.is_ok()),
        );
    }
    println!("of {RUN}: {compiled} compiled, {returns} return, {small} are small");
    println!("{long} have long jumps, {large} large frames");
    assert!(compiled * 100 >= RUN * 98);
    assert!(returns * 100 >= RUN * 40);
    assert!(small * 100 >= RUN * 90);
    assert!(long > 0 && large > 0);
}
