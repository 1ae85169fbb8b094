// SPDX-License-Identifier: GPL-2.0-only
//! Refused modules: the errno and the words of each refusal.

mod common;

use common::{filter, load_with, options, refused, refused_wasm, wasm};
use nf_wasm_engine::Options;
use nf_wasm_engine::RefusalKind::{self, Denied, Interface, Malformed, Unsupported};

const FILTER: &str = r#"(func (export "nfw_filter") (param i32 i32 i32) (result i32) i32.const 1)"#;

fn module(items: &str) -> String {
    format!("(module {items} {FILTER})")
}

#[test]
fn errnos() {
    for (kind, errno) in [
        (Malformed, 8),
        (RefusalKind::OutOfMemory, 12),
        (Denied, 13),
        (Interface, 22),
        (RefusalKind::Limit, 27),
        (Unsupported, 95),
    ] {
        assert_eq!(kind.errno(), errno);
    }
}

#[test]
fn what_is_no_module() {
    refused_wasm(b"", Malformed, &["ends within its header", "offset 0x0"]);
    refused_wasm(b"\0asm\x01\0", Malformed, &["ends within its header"]);
    refused_wasm(
        b"\x7fELF\0\0\0\0",
        Malformed,
        &["not a Wasm module", "offset 0x0"],
    );
    refused_wasm(b"(module)", Malformed, &["text format"]);
    refused_wasm(
        b"\0asm\x02\0\0\0",
        Malformed,
        &["version 0x2", "offset 0x4"],
    );
    refused_wasm(
        b"\0asm\x0d\0\x01\0",
        Unsupported,
        &["component", "core target"],
    );
    refused_wasm(&wasm("(component)"), Unsupported, &["component"]);
    refused_wasm(b"\0asm\x01\0\0\0", Interface, &["no export nfw_filter"]);
}

#[test]
fn broken_modules_are_told_where() {
    let wrong_type = module("(func i64.const 1 drop)");
    let mut bytes = wasm(&wrong_type);
    let at = bytes.windows(3).position(|b| b == [0x42, 1, 0x1a]).unwrap();
    bytes[at + 2] = 0x0b; // an `end` where the `drop` was
    refused_wasm(
        &bytes,
        Malformed,
        &["not a valid Wasm module", "offset 0x", "in function 0"],
    );
    // A section twice.
    let mut bytes = wasm(&module(""));
    let types = bytes[8..18].to_vec();
    bytes.splice(18..18, types);
    refused_wasm(&bytes, Malformed, &["offset 0x"]);
}

#[test]
fn proposals() {
    for (items, word) in [
        ("(func (local v128))", "SIMD"),
        ("(func (param v128))", "SIMD"),
        ("(func (drop (v128.const i32x4 1 2 3 4)))", "SIMD"),
        (r#"(memory i64 1)"#, "memory64"),
        (r#"(memory 1 1 shared)"#, "threads"),
        (
            r#"(memory (export "memory") 1) (func (drop (i32.atomic.load (i32.const 0))))"#,
            "threads",
        ),
        ("(func atomic.fence)", "threads"),
        ("(memory 1) (memory 1)", "multi-memory"),
        ("(memory 1 1 (pagesize 1))", "custom page sizes"),
        ("(tag)", "exceptions"),
        ("(func (throw_ref (unreachable)))", "exceptions"),
        ("(func $f return_call $f)", "tail call"),
        ("(type (struct))", "gc"),
        ("(rec (type (func)) (type (func)))", "gc"),
        ("(func (drop (ref.i31 (i32.const 1))))", "gc"),
        ("(table 1 1 funcref (ref.null func))", "initial value"),
        ("(func $f) (table 1 1 funcref (ref.func $f))", "initial value"),
        (
            "(type $t (func)) (func (call_ref $t (ref.null $t)))",
            "function references",
        ),
        ("(func (drop (i64.add128 (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1))) drop)", "wide"),
        ("(table i64 1 funcref)", "memory64"),
    ] {
        let text = module(items);
        let refusal = nf_wasm_engine::inspect(&wasm(&text)).unwrap_err();
        refused(&text, Unsupported, &["offset 0x"]);
        let message = refusal.message.to_lowercase();
        assert!(
            message.contains(&word.to_lowercase()),
            "{word}: {message}"
        );
    }
}

/// Constant expressions of Wasm 3.0 that the engine does not support.
#[test]
fn constants_of_later_versions() {
    for (items, word) in [
        (
            "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
            "extended",
        ),
        (
            "(global i64 (i64.mul (i64.const 1) (i64.const 2)))",
            "extended",
        ),
        (
            "(global $a i32 (i32.const 1)) (global i32 (global.get $a))",
            "extended",
        ),
        (
            r#"(memory (export "memory") 1) (global $a i32 (i32.const 1))
               (data (offset (global.get $a)) "x")"#,
            "extended",
        ),
        (
            "(table 9 funcref) (global $a i32 (i32.const 1)) (func $f)
             (elem (offset (global.get $a)) func $f)",
            "extended",
        ),
        (
            "(table 9 funcref) (func $f)
             (elem (offset (i32.sub (i32.const 2) (i32.const 1))) func $f)",
            "extended",
        ),
        ("(global anyref (ref.i31 (i32.const 1)))", "gc"),
        (
            "(global externref (extern.convert_any (ref.i31 (i32.const 1))))",
            "gc",
        ),
        ("(global v128 (v128.const i64x2 0 0))", "SIMD"),
    ] {
        refused(&module(items), Unsupported, &["offset 0x", word]);
    }
    // These are wrong in every version.
    for items in [
        "(global i32 (i32.div_u (i32.const 1) (i32.const 2)))",
        "(global i32 (i32.const 1) (i32.eqz))",
        "(global i32 (i64.const 1))",
        "(global i32 (global.get 1)) (global i32 (i32.const 1))",
    ] {
        refused(&module(items), Malformed, &["not a valid Wasm module"]);
    }
}

#[test]
fn start_functions() {
    refused(
        &module("(func $f) (start $f)"),
        Unsupported,
        &[
            "start function",
            "_initialize",
            "asc --exportStart _initialize",
            "offset 0x",
        ],
    );
}

/// WASI commands, which run once, are refused.
#[test]
fn commands() {
    refused(
        &module(r#"(func (export "_start"))"#),
        Unsupported,
        &["_start", "program", "reactor", "offset 0x"],
    );
    // wasm-ld makes each export of a command run the constructors first.
    let wrapped = |filter: &str| {
        format!(
            r#"(module
              (import "nfw.mark" "get" (func $get (result i32)))
              (memory (export "memory") 1)
              (func $ctors (i32.store (i32.const 16) (i32.add (call $get) (i32.const 1))))
              (func $other (i32.store (i32.const 16) (i32.const 1)))
              (func $buf (param i32) (result i32) (i32.const 1024))
              (func $filter (param i32 i32 i32) (result i32) (i32.const 1))
              (func (export "nfw_buf") (param i32) (result i32)
                (call $ctors) (call $buf (local.get 0)))
              (func (export "nfw_filter") (param i32 i32 i32) (result i32) {filter}))"#
        )
    };
    let call = "(call $filter (local.get 0) (local.get 1) (local.get 2))";
    for filter in [
        format!("(call $ctors) {call}"),
        // Destructors, too.
        format!("(call $ctors) {call} (call $other)"),
    ] {
        refused(
            &wrapped(&filter),
            Interface,
            &[
                "nfw_filter and nfw_buf",
                "function 1",
                "constructors",
                "-Wl,--export=__wasm_call_ctors",
            ],
        );
    }
    // Exports that only look like wrappers.
    for filter in [
        format!("(call $other) {call}"),
        call.to_owned(),
        format!("{call} (call $ctors)"),
        "(call $ctors) (call $filter (local.get 0) (local.get 2) (local.get 1))".to_owned(),
        "(call $ctors) (i32.const 1)".to_owned(),
        format!("(call $ctors) {call} (drop) (i32.const 1)"),
        format!("(call $ctors) {call} (drop (call $get))"),
    ] {
        let text = wrapped(&filter);
        assert!(load_with(&text, &options()).is_ok(), "{text}");
    }
}

#[test]
fn the_filter() {
    refused(
        "(module)",
        Interface,
        &["no export nfw_filter", "(i32, i32, i32) -> (i32)"],
    );
    refused(
        r#"(module (func (export "nfw_filter") (param i32 i64) (result i32) i32.const 1))"#,
        Interface,
        &[
            "function 0",
            "the type (i32, i64) -> (i32)",
            "it is (i32, i32, i32) -> (i32)",
        ],
    );
    refused(
        r#"(module (global (export "nfw_filter") i32 (i32.const 1)))"#,
        Interface,
        &["is a global, not a function"],
    );
    refused(
        r#"(module (import "nfw.packet" "load" (func (param i32 i32 i32) (result i32)))
           (export "nfw_filter" (func 0)))"#,
        Interface,
        &["nfw_filter", "imported function"],
    );
}

#[test]
fn optional_exports() {
    refused(
        &module(r#"(func (export "nfw_init"))"#),
        Interface,
        &["nfw_init", "the type () -> ()", "it is () -> (i32)"],
    );
    for name in ["_initialize", "__wasm_call_ctors"] {
        refused(
            &module(&format!(
                r#"(func (export "{name}") (result i32) i32.const 0)"#
            )),
            Interface,
            &[name, "the type () -> (i32)", "it is () -> ()"],
        );
    }
    refused(
        &module(
            r#"(memory (export "memory") 1) (func (export "nfw_buf") (result i32) i32.const 0)"#,
        ),
        Interface,
        &["nfw_buf", "it is (i32) -> (i32)"],
    );
    refused(
        &module("(memory 1)"),
        Interface,
        &["not exported", "\"memory\""],
    );
    refused(
        &module(r#"(memory 1) (global (export "memory") i32 (i32.const 0))"#),
        Interface,
        &["memory", "is a global"],
    );
}

#[test]
fn imports() {
    refused(
        &module(r#"(import "env" "puts" (func))"#),
        Interface,
        &[
            "\"env\"",
            "\"puts\"",
            "offset 0x",
            "nfw.packet, nfw.log, nfw.clock, nfw.mark",
        ],
    );
    refused(
        &module(r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#),
        Unsupported,
        &["WASI", "freestanding", "offset 0x"],
    );
    for (name, help) in [
        ("abort", "asc --use abort="),
        ("memset", "-fcompiler-rt"),
        ("memcpy", "-mbulk-memory"),
        ("memmove", "--allow-undefined"),
        ("memcmp", "--allow-undefined"),
        ("puts", "--allow-undefined"),
    ] {
        refused(
            &module(&format!(
                r#"(import "env" "{name}" (func (param i32 i32 i32) (result i32)))"#
            )),
            Interface,
            &["\"env\"", name, "offset 0x", help],
        );
    }
    refused(
        &module(r#"(import "nfw.clock" "tai" (func (result i64)))"#),
        Interface,
        &["\"tai\"", "nfw.clock", "it has monotonic, realtime"],
    );
    refused(
        &module(r#"(import "nfw.clock" "realtime" (func (result i32)))"#),
        Interface,
        &[
            "nfw.clock realtime",
            "the type () -> (i32)",
            "it is () -> (i64)",
        ],
    );
    for (item, kind) in [
        ("(memory 1)", "memory"),
        ("(table 1 funcref)", "table"),
        ("(global i32)", "global"),
    ] {
        refused(
            &module(&format!(r#"(import "env" "x" {item})"#)),
            Interface,
            &["\"env\" \"x\"", &format!("is a {kind}"), "only functions"],
        );
    }
}

#[test]
fn names_are_shown_so_that_a_terminal_bears_them() {
    refused(
        &module(r#"(import "a\1b[2J\n" "b" (func))"#),
        Interface,
        &[r#""a\u{1b}[2J\n""#],
    );
}

#[test]
fn capabilities_have_to_be_granted() {
    let text = r#"(module
        (import "nfw.log" "write" (func (param i32 i32) (result i32)))
        (import "nfw.mark" "get" (func (result i32)))
        (func (export "nfw_filter") (param i32 i32 i32) (result i32) i32.const 1))"#;
    let granted = |capabilities| {
        load_with(
            text,
            &Options {
                capabilities,
                ..options()
            },
        )
        .map(|_| ())
    };
    use nf_wasm_shared::abi::capability::{LOG, MARK, PACKET};
    assert_eq!(granted(LOG.bit | MARK.bit), Ok(()));
    let refusal = granted(LOG.bit | PACKET.bit).unwrap_err();
    assert_eq!(refusal.kind, Denied);
    assert!(refusal.message.contains("--allow nfw.mark"), "{refusal}");
    let refusal = granted(0).unwrap_err();
    assert!(refusal.message.contains("--allow nfw.log"), "{refusal}");
}

#[test]
fn segments_have_to_fit() {
    let data = |at: u32| {
        module(&format!(
            r#"(memory (export "memory") 1 9) (data (i32.const {at}) "four")"#
        ))
    };
    assert!(load_with(&data(65_532), &options()).is_ok());
    for at in [65_533, u32::MAX] {
        refused(
            &data(at),
            Interface,
            &["data segment at offset 0x", "0x10000"],
        );
    }
    let elements = |at: u32| {
        module(&format!(
            "(table 10 99 funcref) (func $f) (elem (i32.const {at}) $f $f)"
        ))
    };
    assert!(load_with(&elements(8), &options()).is_ok());
    for at in [9, u32::MAX] {
        refused(
            &elements(at),
            Interface,
            &["element segment at offset 0x", "has 10"],
        );
    }
}

#[test]
fn every_prefix_of_a_module_is_refused_without_a_panic() {
    let bytes = wasm(
        r#"(module
          (import "nfw.log" "write" (func $w (param i32 i32) (result i32)))
          (memory (export "memory") 1)
          (table 2 funcref)
          (global (mut i32) (i32.const 3))
          (elem (i32.const 0) $f $f)
          (func $f (param i32) (result i32 i32) (local i64) (local.get 0) (local.get 0))
          (func (export "nfw_init") (result i32) i32.const 0)
          (func (export "nfw_filter") (param i32 i32 i32) (result i32)
            (block (block (br_table 0 1 0 (local.get 2))))
            (drop (call $w (i32.const 0) (i32.const 5)))
            (i32.sub (call_indirect (param i32) (result i32 i32) (local.get 2) (i32.const 1)))
            (if (result i32) (i32.eqz) (then (i32.const 1)) (else (i32.const 0))))
          (data (i32.const 0) "hello"))"#,
    );
    assert!(nf_wasm_engine::inspect(&bytes).is_ok());
    let mut whole = 0;
    for len in 0..bytes.len() {
        match nf_wasm_engine::inspect(&bytes[..len]) {
            // A prefix that ends with a section may be a valid module that is not a filter.
            Err(refusal) => assert!(matches!(refusal.kind, Malformed | Interface), "{refusal}"),
            Ok(_) => whole += 1,
        }
    }
    // Two prefixes are filters: without the names, and without names and data.
    assert_eq!(whole, 2);
}

/// A pseudorandom number generator with a fixed seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn changed_modules_never_panic() {
    let texts = [
        filter(
            "(local i64) (block (block (br_table 0 1 0 (local.get 2))))
             (loop (local.set 3 (i64.add (local.get 3) (i64.const 77)))
               (br_if 0 (i64.lt_u (local.get 3) (i64.const 1000))))
             (memory.copy (i32.const 1) (i32.const 5) (i32.const 100))
             (select (i32.const 1) (i32.load8_u (local.get 1)) (local.get 2))",
        ),
        r#"(module
            (import "nfw.packet" "load" (func $l (param i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (table (export "t") 2 funcref)
            (global $g (export "g") (mut i32) (i32.const 3))
            (elem (i32.const 0) $f $f) (elem $p func $f) (data $d "passive")
            (func $f (param i32) (result i32 i32) (local.get 0) (local.get 0))
            (func (export "nfw_buf") (param i32) (result i32) (i32.const 1024))
            (func (export "nfw_init") (result i32)
              (table.init $p (i32.const 0) (i32.const 0) (i32.const 1))
              (memory.init $d (i32.const 0) (i32.const 0) (i32.const 7)) i32.const 0)
            (func (export "nfw_filter") (param i32 i32 i32) (result i32)
              (global.set $g (i32.const 4))
              (drop (call $l (i32.const 0) (i32.const 5) (i32.const 9)))
              (i32.sub (call_indirect (param i32) (result i32 i32) (local.get 2) (i32.const 1)))))"#
            .to_owned(),
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // NF_WASM_TEST_ROUNDS sets a larger number for a longer test.
    let rounds = std::env::var("NF_WASM_TEST_ROUNDS").map_or(6_000, |n| n.parse().unwrap());
    let mut loaded = 0;
    for text in &texts {
        let original = wasm(text);
        for _ in 0..rounds {
            let mut bytes = original.clone();
            for _ in 0..1 + random.next() % 3 {
                let at = 8 + random.next() as usize % (bytes.len() - 8);
                match random.next() % 4 {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes[at] ^= 1 << (random.next() % 8),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, random.next() as u8),
                }
            }
            let few = Options {
                init_fuel: 10_000,
                ..options()
            };
            let packet = common::Packet::new(&[0x45; 60]);
            if let Ok(mut instance) = nf_wasm_engine::Instance::new(&bytes, &few, packet) {
                loaded += 1;
                for _ in 0..2 {
                    let mut context = common::context(instance.host_mut());
                    let outcome = instance.call(&mut context, 10_000);
                    assert_ne!(
                        outcome.verdict,
                        Err(nf_wasm_shared::abi::trap::Trap::Internal)
                    );
                }
            }
        }
    }
    assert!(loaded > 500, "{loaded} loaded: too few to say anything");
}
