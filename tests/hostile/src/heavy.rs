// SPDX-License-Identifier: GPL-2.0-only
//! Modules at the limits. They load. Their time, memory and stack are bounded. The largest are in
//! [`crate::megabyte`].

use nf_wasm_shared::abi::limits;

use crate::{loaded, with, Case};

/// A name of the maximum length, different for each `n`.
fn long_name(n: u32) -> String {
    // Names that are not in order, so that sorting them takes work.
    let n = n * 7919 % 997 * 1000 + n;
    format!("{n:0>width$}", width = limits::NAME_BYTES as usize)
}

fn repeated(count: u32, item: impl Fn(u32) -> String) -> String {
    (0..count).map(item).collect()
}

fn exports(count: u32) -> String {
    repeated(count, |n| {
        format!(
            r#"(func (export "{}") (param i64) (result i32) (i32.const {n}))"#,
            long_name(n)
        )
    })
}

fn imports() -> String {
    repeated(limits::IMPORTS, |n| {
        format!(r#"(import "nfw.mark" "set" (func $import{n} (param i32) (result i32)))"#)
    })
}

fn data() -> String {
    repeated(limits::DATA_SEGMENTS, |n| {
        format!(r#"(data (i32.const {}) "x")"#, n * 16)
    })
}

fn nested_blocks() -> String {
    let depth = limits::NESTING as usize - 2;
    format!(
        "(func $deep (param i32) (result i32) {} (local.get 0) {})",
        "(block (result i32) ".repeat(depth),
        ")".repeat(depth)
    )
}

fn nested_ifs() -> String {
    let depth = limits::NESTING as usize / 2 - 1;
    format!(
        "(func (param i32) {} {})",
        "(if (local.get 0) (then ".repeat(depth),
        "))".repeat(depth)
    )
}

/// A `br_table` with the maximum number of targets, to all of the maximum number of blocks.
fn branches() -> String {
    let depth = limits::NESTING as usize;
    let targets = repeated(limits::BR_TABLE_TARGETS, |n| {
        format!("{} ", n % limits::NESTING)
    });
    format!(
        "(func (param i32) {}(br_table {targets} 0 (local.get 0)){})",
        "(block ".repeat(depth),
        ")".repeat(depth)
    )
}

fn locals() -> String {
    format!(
        "(func (local {}) {})",
        "i64 ".repeat(limits::LOCALS as usize),
        repeated(limits::LOCALS, |n| format!(
            "(local.set {n} (i64.const {n}77777))"
        ))
    )
}

fn wide_signatures() -> String {
    let results = "i32 ".repeat(limits::RESULTS as usize);
    let params = "i64 ".repeat(limits::PARAMS as usize);
    let constants = "(i32.const 1) ".repeat(limits::RESULTS as usize);
    let arguments = "(i64.const 1) ".repeat(limits::PARAMS as usize);
    format!(
        "(func $wide (param {params}) (result {results}) {constants})
         (func (result {results}) (call $wide {arguments}))"
    )
}

fn deep_expression() -> String {
    format!(
        "(func (result i32) {} (i32.const 1) {})",
        "(i32.add (i32.const 3) ".repeat(1000),
        ")".repeat(1000)
    )
}

fn globals() -> String {
    repeated(limits::GLOBALS, |n| {
        format!("(global (mut i64) (i64.const {n}))")
    })
}

fn table_and_elements() -> String {
    let elements = repeated(limits::ELEMENT_SEGMENTS, |_| {
        "(elem (i32.const 0) $small)".to_owned()
    });
    format!(
        "(table {} funcref) (func $small) {elements}",
        limits::TABLE_ELEMENTS
    )
}

const MEMORY: &str = r#"(memory (export "memory") 1)"#;
const INIT: &str = r#"(func $init (export "nfw_init") (result i32) (i32.const 0))"#;

/// All limits at once, except those on function bodies.
pub fn everything() -> Vec<u8> {
    with(&format!(
        "{} {MEMORY} {} {} {} {} {} {} {} {} {INIT} {}",
        imports(),
        data(),
        globals(),
        exports(limits::EXPORTS - 3),
        nested_blocks(),
        nested_ifs(),
        locals(),
        wide_signatures(),
        deep_expression(),
        table_and_elements()
    ))
}

/// The outcome of a case that accepts.
pub(crate) const ACCEPTS: &[Result<i32, nf_wasm_shared::abi::trap::Trap>] = &[Ok(1)];

/// The cases.
pub const CASES: &[Case] = &[
    loaded("exports with long names", ACCEPTS, || {
        with(&exports(limits::EXPORTS - 1))
    }),
    loaded("imports", ACCEPTS, || with(&imports())),
    loaded("data segments", ACCEPTS, || {
        with(&(MEMORY.to_owned() + &data()))
    }),
    loaded("nested blocks", ACCEPTS, || with(&nested_blocks())),
    loaded("nested ifs", ACCEPTS, || with(&nested_ifs())),
    loaded("branches to everywhere", ACCEPTS, || with(&branches())),
    loaded("locals", ACCEPTS, || with(&locals())),
    loaded("parameters and results", ACCEPTS, || {
        with(&wide_signatures())
    }),
    loaded("a deep expression", ACCEPTS, || with(&deep_expression())),
    loaded("a long function", ACCEPTS, || {
        with(&format!(
            "(func (param i32) {})",
            "(drop (i32.mul (local.get 0) (i32.const 12345)))".repeat(10_000)
        ))
    }),
    loaded("3,000 operands", ACCEPTS, || {
        with(&format!(
            "(func {} {})",
            "i32.const 1 ".repeat(3000),
            "drop ".repeat(3000)
        ))
    }),
    loaded("globals", ACCEPTS, || with(&globals())),
    loaded("elements", ACCEPTS, || with(&table_and_elements())),
    loaded("functions", ACCEPTS, || {
        with(&"(func)".repeat(limits::FUNCTIONS as usize - 1))
    }),
    loaded("types", ACCEPTS, || {
        let params = "i64 ".repeat(limits::PARAMS as usize - 10);
        let results = "i32 ".repeat(limits::RESULTS as usize);
        with(&repeated(limits::TYPES - 1, |n| {
            let different: String = (0..10)
                .map(|bit| if (n >> bit) & 1 == 0 { "i32 " } else { "i64 " })
                .collect();
            format!("(type (func (param {params} {different}) (result {results})))")
        }))
    }),
    loaded("all of it", ACCEPTS, everything),
];
