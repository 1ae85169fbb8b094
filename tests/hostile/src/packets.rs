// SPDX-License-Identifier: GPL-2.0-only
//! Filters that misbehave on packets. Operators that may cost more than they are charged are in
//! [`crate::ops`].

use nf_wasm_shared::abi::trap::Trap;

use crate::{filter, loaded, wat, Case};

/// The host functions that these cases use.
const IMPORTS: &str = r#"
    (import "nfw.packet" "load" (func $load (param i32 i32 i32) (result i32)))
    (import "nfw.packet" "len" (func $packet_len (result i32)))
    (import "nfw.log" "write" (func $write (param i32 i32) (result i32)))
    (import "nfw.clock" "monotonic" (func $now (result i64)))
    (import "nfw.mark" "set" (func $set (param i32) (result i32)))"#;

/// Repeats `statement` until the fuel is used up.
fn for_ever(fields: &str, statement: &str) -> Vec<u8> {
    filter(
        &format!("{IMPORTS} {fields}"),
        &format!("(loop $for {statement} (br $for)) (unreachable)"),
    )
}

/// `call_indirect` of type `() -> i32` at `index`. The table has a function of that type, a null
/// element, and a function of another type.
fn indirect(index: &str) -> Vec<u8> {
    filter(
        "(table 3 funcref) (elem (i32.const 0) $right) (elem (i32.const 2) $wrong)
         (func $right (result i32) (i32.const 1)) (func $wrong (param i64))",
        &format!("(call_indirect (result i32) ({index}))"),
    )
}

const FUEL: &[Result<i32, Trap>] = &[Err(Trap::OutOfFuel)];
const STACK: &[Result<i32, Trap>] = &[Err(Trap::StackOverflow)];
const MEMORY: &[Result<i32, Trap>] = &[Err(Trap::MemoryOutOfBounds)];
const TABLE: &[Result<i32, Trap>] = &[Err(Trap::TableOutOfBounds)];
const VERDICT: &[Result<i32, Trap>] = &[Err(Trap::UnknownVerdict)];

/// The cases.
pub const CASES: &[Case] = &[
    loaded("an endless loop", FUEL, || for_ever("", "")),
    loaded("endless recursion", STACK, || {
        filter(
            "",
            "(call $filter (local.get $ctx) (local.get $pkt) (local.get $len))",
        )
    }),
    loaded("endless recursion by two", STACK, || {
        filter(
            "(func $a (call $b)) (func $b (call $a))",
            "(call $a) (i32.const 1)",
        )
    }),
    loaded("endless recursion through a table", STACK, || {
        filter(
            "(table 1 funcref) (elem (i32.const 0) $a)
             (type $t (func)) (func $a (type $t) (call_indirect (type $t) (i32.const 0)))",
            "(call $a) (i32.const 1)",
        )
    }),
    loaded("recursion with frames of 1,000 slots", STACK, || {
        let locals = "i64 ".repeat(1000);
        filter(
            &format!("(func $a (local {locals}) (call $a))"),
            "(call $a) (i32.const 1)",
        )
    }),
    loaded("a frame that is larger than the stack", STACK, || {
        filter(
            &format!(
                "(func $a (param i32) {} {})",
                "local.get 0 ".repeat(20_000),
                "drop ".repeat(20_000)
            ),
            "(call $a (i32.const 0)) (i32.const 1)",
        )
    }),
    loaded("memory.grow for ever", FUEL, || {
        for_ever("", "(drop (memory.grow (i32.const 1)))")
    }),
    loaded("memory.grow by everything for ever", FUEL, || {
        for_ever("", "(drop (memory.grow (i32.const -1)))")
    }),
    loaded("memory.grow, once, is refused", &[Ok(1)], || {
        filter("", "(i32.eq (memory.grow (i32.const 1)) (i32.const -1))")
    }),
    loaded("table.grow for ever", FUEL, || {
        for_ever(
            "(table 1 funcref)",
            "(drop (table.grow (ref.null func) (i32.const 1)))",
        )
    }),
    loaded("memory.fill of everything for ever", FUEL, || {
        for_ever(
            "",
            "(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x20000))",
        )
    }),
    loaded("memory.copy of everything for ever", FUEL, || {
        for_ever(
            "",
            "(memory.copy (i32.const 1) (i32.const 0) (i32.const 0x1ffff))",
        )
    }),
    loaded("memory.fill past the end", MEMORY, || {
        filter(
            "",
            "(memory.fill (i32.const 1) (i32.const 0) (i32.const 0x20000)) (i32.const 1)",
        )
    }),
    loaded("memory.copy past the end", MEMORY, || {
        filter(
            "",
            "(memory.copy (i32.const 0) (i32.const 1) (i32.const -1)) (i32.const 1)",
        )
    }),
    loaded("memory.init past the end", MEMORY, || {
        filter(
            r#"(data $d "four")"#,
            "(memory.init $d (i32.const 0) (i32.const 1) (i32.const 4)) (i32.const 1)",
        )
    }),
    loaded(
        "segments that are dropped, and used",
        &[Ok(1), Err(Trap::MemoryOutOfBounds)],
        || {
            filter(
                r#"(data $d "four") (table 9 funcref) (elem $e func $filter $filter)"#,
                "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 4)) (data.drop $d)
                 (elem.drop $e) (i32.const 1)",
            )
        },
    ),
    loaded("a thousand segments that are dropped", &[Ok(1)], || {
        filter(
            &r#"(data "x")"#.repeat(1000),
            &(0..1000)
                .map(|n| format!("(data.drop {n})"))
                .chain(["(i32.const 1)".to_owned()])
                .collect::<String>(),
        )
    }),
    loaded("loads past the end", MEMORY, || {
        filter("", "(i32.load offset=0xffffffff (i32.const -1))")
    }),
    loaded("stores past the end", MEMORY, || {
        filter(
            "",
            "(i64.store (i32.const 0x1fff9) (i64.const -1)) (i32.const 1)",
        )
    }),
    loaded("nfw.packet load of 2 GiB for ever", FUEL, || {
        for_ever(
            "",
            "(drop (call $load (i32.const 0) (i32.const 0) (i32.const 0x7fffffff)))",
        )
    }),
    loaded("nfw.packet load to nowhere", MEMORY, || {
        filter(
            IMPORTS,
            "(call $load (i32.const 0) (i32.const -1) (i32.const 2))",
        )
    }),
    loaded("nfw.packet load from nowhere", &[Ok(1)], || {
        filter(
            IMPORTS,
            "(i32.eq (call $load (i32.const -1) (i32.const 0) (i32.const 2)) (i32.const -14))",
        )
    }),
    loaded("nfw.packet load for ever", FUEL, || {
        for_ever(
            "",
            "(drop (call $load (i32.const 0) (i32.const 0) (call $packet_len)))",
        )
    }),
    loaded("nfw.packet load over its own window", &[Ok(1)], || {
        filter(
            IMPORTS,
            "(drop (call $load (i32.const 1) (local.get $pkt) (i32.const 9)))
             (drop (call $load (i32.const 0) (local.get $ctx) (i32.const 20)))
             (i32.const 1)",
        )
    }),
    loaded("nfw.log for ever", FUEL, || {
        for_ever("", "(drop (call $write (i32.const 0) (i32.const 256)))")
    }),
    loaded("nfw.log of memory's end", MEMORY, || {
        filter(IMPORTS, "(call $write (i32.const 0x1ffff) (i32.const 2))")
    }),
    loaded("nfw.log of control codes", &[Ok(1)], || {
        filter(
            &format!(r#"{IMPORTS} (data (i32.const 0) "\1b[2J\n<0>panic\00\ff\80")"#),
            "(drop (call $write (i32.const 0) (i32.const 16))) (i32.const 1)",
        )
    }),
    loaded("nfw.clock for ever", FUEL, || {
        for_ever("", "(drop (call $now))")
    }),
    loaded("nfw.mark for ever", FUEL, || {
        for_ever("", "(drop (call $set (i32.const 0)))")
    }),
    loaded("call_indirect of what is there", &[Ok(1)], || {
        indirect("i32.const 0")
    }),
    loaded(
        "call_indirect of nothing",
        &[Err(Trap::IndirectCallToNull)],
        || indirect("i32.const 1"),
    ),
    loaded(
        "call_indirect of another type",
        &[Err(Trap::BadSignature)],
        || indirect("i32.const 2"),
    ),
    loaded("call_indirect past the end", TABLE, || {
        indirect("i32.const 3")
    }),
    loaded("call_indirect far past the end", TABLE, || {
        indirect("i32.const -1")
    }),
    loaded("call_indirect of an import", &[Ok(1)], || {
        filter(
            &format!("{IMPORTS} (table 1 funcref) (elem (i32.const 0) $packet_len)"),
            "(i32.eq (call_indirect (result i32) (i32.const 0)) (call $packet_len))",
        )
    }),
    loaded(
        "references put where calls find them",
        &[Ok(1), Err(Trap::BadSignature)],
        || {
            filter(
            "(table 1 funcref) (elem declare func $right $wrong) (global $n (mut i32) (i32.const 0))
             (func $right (result i32) (i32.const 1)) (func $wrong (result i64) (i64.const 1))",
            "(table.set (i32.const 0)
               (select (result funcref) (ref.func $wrong) (ref.func $right) (global.get $n)))
             (global.set $n (i32.const 1))
             (call_indirect (result i32) (i32.const 0))",
        )
        },
    ),
    loaded("verdict 2", VERDICT, || filter("", "(i32.const 2)")),
    loaded("verdict 16", VERDICT, || filter("", "(i32.const 16)")),
    loaded("verdict -1", VERDICT, || filter("", "(i32.const -1)")),
    loaded("verdict 2^31", VERDICT, || {
        filter("", "(i32.const 0x80000000)")
    }),
    loaded(
        "each packet another trap",
        &[
            Err(Trap::IntegerDivisionByZero),
            Err(Trap::IntegerOverflow),
            Err(Trap::Unreachable),
            Err(Trap::StackOverflow),
            Err(Trap::OutOfFuel),
            Ok(0),
            Ok(1),
        ],
        || {
            filter(
                "(global $n (mut i32) (i32.const -1)) (func $f (call $f))",
                "(global.set $n (i32.add (global.get $n) (i32.const 1)))
             (block $6 (block $5 (block $4 (block $3 (block $2 (block $1 (block $0
               (br_table $0 $1 $2 $3 $4 $5 $6 (global.get $n)))
               (return (i32.div_u (i32.const 1) (local.get $i))))
               (return (i32.div_s (i32.const 0x80000000) (i32.sub (local.get $i) (i32.const 1)))))
               (unreachable))
               (call $f))
               (loop $for (br $for)))
               (return (i32.const 0)))
             (i32.const 1)",
            )
        },
    ),
    loaded("its own buffer and context overwritten", &[Ok(1)], || {
        // The next packet finds buffer and context rewritten.
        filter(
            "",
            "(if (i32.or (i32.ne (i32.load (local.get $ctx)) (i32.const 1))
                         (i32.ne (i32.load offset=20 (local.get $ctx)) (local.get $len)))
               (then (unreachable)))
             (memory.fill (i32.const 0) (i32.const 0xff) (i32.const 0x20000))
             (i32.const 1)",
        )
    }),
    loaded(
        "a filter without memory that has arguments",
        &[Ok(1)],
        || {
            wat(
                r#"(module (func (export "nfw_filter") (param i32 i32 i32) (result i32)
                 (i32.eqz (i32.or (i32.or (local.get 0) (local.get 1)) (local.get 2)))))"#,
            )
        },
    ),
    loaded("values that change places", FUEL, || {
        wat(
            r#"(module (func (export "nfw_filter") (param i32 i32 i32) (result i32)
                 (local $a i64) (local $b i64)
                 (local.get $a) (local.get $b)
                 (loop $for (param i64 i64)
                   (local.set $a) (local.set $b) (local.get $a) (local.get $b)
                   (br $for))
                 (unreachable)))"#,
        )
    }),
    loaded("a chain of selects", &[Ok(1)], || {
        filter(
            "",
            &format!(
                "(i32.const 1) {} (i32.and (i32.const 1))",
                "(i32.const 0) (local.get $i) (i32.eqz) (select) ".repeat(2000)
            ),
        )
    }),
];
