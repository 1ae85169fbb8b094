// SPDX-License-Identifier: GPL-2.0-only
//! What is made is worth running: most of it loads, is of every kind, and the same each time.

use std::collections::BTreeMap;

use nf_wasm_abi::limits::{INIT_FUEL, MEMORY_PAGES};
use nf_wasm_engine::{Instance, Options};
use nf_wasm_generate::case::{Case, Filters};
use nf_wasm_generate::host::Packet;
use nf_wasm_generate::random::Random;
use nf_wasm_generate::{smith, Unstructured};

const CASES: u64 = 400;

/// How many of the modules load, in a hundred; says why others do not.
fn loaded(make: impl Fn(&mut Unstructured<'_>) -> Vec<u8>) -> u64 {
    let options = Options {
        capabilities: nf_wasm_abi::capability::ALL_BITS,
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
