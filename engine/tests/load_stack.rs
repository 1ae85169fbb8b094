// SPDX-License-Identifier: GPL-2.0-only
//! How much stack a load takes.
//!
//! What counts is measured in the kernel, where the code is another (its flags, the patches in
//! `patches/`); `NF_WASM_INFO` reports it. Here the bound is generous, and finds what is out of
//! proportion: recursion, or a frame that grows with the module.

mod common;

use std::fmt::Write;
use std::thread;

use common::{options, wasm, Packet};
use nf_wasm_abi::limits;
use nf_wasm_engine::Instance;

/// Bytes for one load, unoptimised, with the formatting of a refusal on top.
const STACK: usize = if cfg!(debug_assertions) {
    160 << 10
} else {
    40 << 10
};

/// Loads on a thread that has no more; overrunning it kills the test. Did it load?
fn load(text: String) -> bool {
    let bytes = wasm(&text);
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || Instance::new(&bytes, &options(), Packet::new(&[])).is_ok())
        .unwrap()
        .join()
        .unwrap()
}

const FILTER: &str = r#"(func (export "nfw_filter") (param i32 i32 i32) (result i32) i32.const 1)"#;

#[test]
fn the_worst_modules() {
    let nested = limits::NESTING as usize;
    let targets = (0..limits::BR_TABLE_TARGETS).fold(String::new(), |mut all, i| {
        let _ = write!(all, "{} ", i % limits::NESTING);
        all
    });
    let deep = format!(
        "(func (param i32) {}(br_table {targets} 0 (local.get 0)){})",
        "(block ".repeat(nested),
        ")".repeat(nested)
    );
    let locals = format!(
        "(func (local {}) {})",
        "i64 ".repeat(limits::LOCALS as usize),
        (0..limits::LOCALS)
            .map(|i| format!("(local.set {i} (i64.const {i}77777))"))
            .collect::<Vec<_>>()
            .concat()
    );
    let exports: String = (2..limits::EXPORTS)
        .map(|i| format!(r#"(export "{:0>250}" (func 0))"#, i * 7919 % 997 * 1000 + i))
        .collect::<Vec<_>>()
        .concat();
    let functions = "(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 9)))"
        .repeat(limits::FUNCTIONS as usize - 4);
    let operands = format!(
        "(func {} {})",
        "i32.const 1 ".repeat(3000),
        "drop ".repeat(3000)
    );
    let segments = r#"(data (i32.const 0) "0123456789")"#.repeat(limits::DATA_SEGMENTS as usize)
        + &"(elem (i32.const 0) 0 0 0 0)".repeat(limits::ELEMENT_SEGMENTS as usize);
    let memory = r#"(memory (export "memory") 1) (table 4 funcref)"#;

    for items in [&String::new(), &deep, &locals, &operands] {
        assert!(load(format!("(module {items} {FILTER})")));
    }
    assert!(load(format!(
        "(module {memory} {deep} {locals} {functions} {FILTER} {exports} {segments})"
    )));
    // And one with a refusal to format.
    assert!(!load(format!("(module (func (param f32)) {FILTER})")));
}
