// SPDX-License-Identifier: GPL-2.0-only
//! The limits of `shared/src/abi/limits.rs` on a module: it is accepted at the limit, and refused
//! at one more.

mod common;

use common::{load_with, options, wasm, Packet};
use nf_wasm_engine::{inspect, Instance, RefusalKind};
use nf_wasm_shared::abi::limits;

const FILTER: &str = r#"(func (export "nfw_filter") (param i32 i32 i32) (result i32) i32.const 1)"#;

/// Checks that `at` is accepted, and `over` is refused with kind `Limit`, `word` and an offset.
#[track_caller]
fn check_wasm(at: &[u8], over: &[u8], word: &str) {
    if let Err(refusal) = Instance::new(at, &options(), Packet::new(&[])) {
        panic!("at the limit: {refusal}");
    }
    let refusal = inspect(over).expect_err("over the limit, and not refused");
    assert_eq!(refusal.kind, RefusalKind::Limit, "{refusal}");
    assert!(refusal.message.contains(word), "{refusal}");
    assert!(refusal.message.contains("offset 0x"), "{refusal}");
    assert!(Instance::new(over, &options(), Packet::new(&[])).is_err());
}

/// As [`check_wasm`], with modules with the fields `items(limit)` and `items(limit + 1)`.
#[track_caller]
fn check(limit: u32, word: &str, items: impl Fn(u32) -> String) {
    let module = |n| wasm(&format!("(module {} {FILTER})", items(n)));
    check_wasm(&module(limit), &module(limit + 1), word);
}

fn repeat(item: &str, n: u32) -> String {
    item.repeat(n as usize)
}

#[test]
fn module_bytes() {
    let empty = wasm(&format!("(module {FILTER})"));
    // A custom section with a name of one byte and a size of four.
    let padded = |bytes: u32| {
        let mut wasm = empty.clone();
        let size = bytes - wasm.len() as u32 - 5;
        wasm.push(0);
        wasm.extend((0..4).map(|i| (size >> (7 * i)) as u8 & 0x7f | if i < 3 { 0x80 } else { 0 }));
        wasm.extend([1, b'x']);
        wasm.resize(bytes as usize, 0);
        wasm
    };
    assert!(inspect(&padded(limits::MODULE_BYTES)).is_ok());
    let refusal = inspect(&padded(limits::MODULE_BYTES + 1)).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Limit);
    assert!(refusal
        .message
        .contains("1048577 bytes; 1048576 are allowed"));
}

#[test]
fn types() {
    check(limits::TYPES, "function types", |n| {
        // The filter's own type is one.
        (1..n)
            .map(|i| format!("(type (func (param{})))", " i32".repeat(i as usize % 7)))
            .collect::<Vec<_>>()
            .concat()
    });
    check(limits::PARAMS, "parameters", |n| {
        format!("(type (func (param {})))", repeat(" i64", n))
    });
    check(limits::RESULTS, "results", |n| {
        format!("(type (func (result {})))", repeat(" i64", n))
    });
    check(limits::RESULTS, "results", |n| {
        format!(
            "(func (block (result {}) unreachable) {})",
            repeat(" i64", n),
            repeat(" drop", n)
        )
    });
}

#[test]
fn functions() {
    check(limits::FUNCTIONS, "functions", |n| repeat("(func)", n - 1));
    // A body has a byte for its locals, and one for its end.
    check(limits::FUNCTION_BYTES, "body of a function", |n| {
        format!("(func {})", repeat("nop ", n - 2))
    });
    check(limits::LOCALS, "parameters and locals", |n| {
        format!("(func (param i32 i32) (local {}))", repeat("i64 ", n - 2))
    });
    check(limits::LOCALS, "function 0", |n| {
        format!(
            "(func (local {}))",
            repeat("i32 i64 ", n / 2) + if n % 2 == 1 { "i32" } else { "" }
        )
    });
}

#[test]
fn nesting() {
    for block in ["(block ", "(loop ", "(if (i32.const 1) (then "] {
        check(limits::NESTING, "nests more than 256 blocks", |n| {
            let close = if block.starts_with("(if") { "))" } else { ")" };
            format!("(func {}{})", repeat(block, n), repeat(close, n))
        });
    }
    check(limits::BR_TABLE_TARGETS, "br_table of function 0", |n| {
        format!("(func (br_table {} 0 (i32.const 7)))", repeat("0 ", n))
    });
}

#[test]
fn imports_and_exports() {
    check(limits::IMPORTS, "imports", |n| {
        repeat(r#"(import "nfw.mark" "get" (func (result i32)))"#, n)
    });
    check(limits::EXPORTS, "exports", |n| {
        (1..n)
            .map(|i| format!(r#"(func (export "f{i}"))"#))
            .collect::<Vec<_>>()
            .concat()
    });
}

#[test]
fn names() {
    let long = |n: u32| "n".repeat(n as usize);
    check(limits::NAME_BYTES, "name of an export", |n| {
        format!(r#"(func (export "{}"))"#, long(n))
    });
    check(limits::NAME_BYTES, "name of a custom section", |n| {
        format!(r#"(@custom "{}" "x")"#, long(n))
    });
    // At the limit these are refused because the import is unknown, over it because of the length.
    let import = |module: u32, name: u32| {
        let text = format!(
            r#"(module (import "{}" "{}" (func)))"#,
            long(module),
            long(name)
        );
        inspect(&wasm(&text)).unwrap_err().kind
    };
    let n = limits::NAME_BYTES;
    assert_eq!(import(n, n), RefusalKind::Interface);
    assert_eq!(import(n + 1, n), RefusalKind::Limit);
    assert_eq!(import(n, n + 1), RefusalKind::Limit);
}

#[test]
fn globals() {
    check(limits::GLOBALS, "globals", |n| {
        repeat("(global i32 (i32.const 1))", n)
    });
}

#[test]
fn segments() {
    let memory = r#"(memory (export "memory") 1)"#;
    check(limits::DATA_SEGMENTS, "data segments", |n| {
        memory.to_owned() + &repeat(r#"(data (i32.const 0) "x")"#, n)
    });
    check(limits::DATA_SEGMENTS, "data segments", |n| {
        // `data.drop` needs a data count section.
        memory.to_owned() + "(func data.drop 0)" + &repeat(r#"(data "x")"#, n)
    });
    check(limits::ELEMENT_SEGMENTS, "element segments", |n| {
        "(table 1 funcref)(func)".to_owned() + &repeat("(elem (i32.const 0) 0)", n)
    });
    check(limits::TABLE_ELEMENTS, "elements of a segment", |n| {
        format!("(func) (elem func {})", repeat("0 ", n))
    });
}

#[test]
fn tables() {
    check(limits::TABLES, "tables", |n| repeat("(table 1 funcref)", n));
    check(limits::TABLE_ELEMENTS, "elements", |n| {
        format!("(table {n} funcref)")
    });
    // The declared maximum is not limited: growth just ends at the limit.
    assert!(load_with(
        &format!("(module (table 1 100000 funcref) {FILTER})"),
        &options()
    )
    .is_ok());
}

#[test]
fn memory() {
    // The guest provides the buffer, so that the host appends no pages.
    let buf = r#"(func (export "nfw_buf") (param i32) (result i32) i32.const 0)"#;
    check(limits::MEMORY_PAGES, "begins with", |n| {
        format!(r#"(memory (export "memory") {n}) {buf}"#)
    });
    check(limits::MEMORY_PAGES, "begins with", |n| {
        format!(r#"(memory (export "memory") {n} 65536) {buf}"#)
    });
}
