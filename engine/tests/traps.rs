// SPDX-License-Identifier: GPL-2.0-only
//! Filters that trap: each kind of trap is reported, and the instance stays usable.

mod common;

use common::{call, filter, load, verdict, FUEL};
use nf_wasm_shared::abi::guest::{ACCEPT, DROP};
use nf_wasm_shared::abi::trap::Trap;

#[test]
fn each_trap_is_told_apart() {
    let loads = "(drop (i32.load (i32.const 0x20000))) i32.const 1";
    let stores = "(i32.store (i32.const -4) (i32.const 1)) i32.const 1";
    let offset = "(drop (i32.load offset=0xffffffff (i32.const 0xffff))) i32.const 1";
    let fills = "(memory.fill (i32.const 0x1ffff) (i32.const 1) (i32.const 2)) i32.const 1";
    for (body, trap) in [
        ("unreachable", Trap::Unreachable),
        (loads, Trap::MemoryOutOfBounds),
        (stores, Trap::MemoryOutOfBounds),
        (offset, Trap::MemoryOutOfBounds),
        (fills, Trap::MemoryOutOfBounds),
        (
            "(i32.div_u (i32.const 1) (local.get $len)) (i32.div_u (i32.const 1) (i32.const 0)) \
             i32.and",
            Trap::IntegerDivisionByZero,
        ),
        (
            "(i32.rem_s (local.get $len) (i32.const 0))",
            Trap::IntegerDivisionByZero,
        ),
        (
            "(i64.div_s (i64.const 0x8000000000000000) (i64.extend_i32_s (i32.sub (i32.const 0) \
             (i32.eq (local.get $len) (i32.const 256))))) i32.wrap_i64",
            Trap::IntegerOverflow,
        ),
        ("(loop (br 0)) i32.const 1", Trap::OutOfFuel),
        ("i32.const 5", Trap::UnknownVerdict),
    ] {
        assert_eq!(verdict(&filter(body)), Err(trap), "{body}");
    }
}

#[test]
fn the_smallest_number_modulo_minus_one_is_no_trap() {
    let body = "(i32.rem_s (i32.const 0x80000000) (i32.sub (i32.const 0) (i32.const 1)))";
    assert_eq!(verdict(&filter(body)), Ok(DROP));
}

#[test]
fn tables() {
    let text = |index: u32| {
        format!(
            r#"(module (table 3 funcref) (elem (i32.const 0) $same $other)
              (type $same (func (param i32) (result i32)))
              (func $same (type $same) i32.const 1)
              (func $other (param i64))
              (func (export "nfw_filter") (param i32 i32 i32) (result i32)
                (call_indirect (type $same) (i32.const 7) (i32.const {index}))))"#
        )
    };
    assert_eq!(verdict(&text(0)), Ok(ACCEPT));
    assert_eq!(verdict(&text(1)), Err(Trap::BadSignature));
    assert_eq!(verdict(&text(2)), Err(Trap::IndirectCallToNull));
    assert_eq!(verdict(&text(3)), Err(Trap::TableOutOfBounds));
    assert_eq!(verdict(&text(u32::MAX)), Err(Trap::TableOutOfBounds));
}

#[test]
fn bulk_operations_out_of_bounds() {
    for (operation, trap) in [
        (
            "(memory.copy (i32.const 0x1ffff) (i32.const 0) (i32.const 2))",
            Trap::MemoryOutOfBounds,
        ),
        (
            "(memory.copy (i32.const 0) (i32.const 0x1ffff) (i32.const 2))",
            Trap::MemoryOutOfBounds,
        ),
        (
            "(memory.init $d (i32.const 0) (i32.const 3) (i32.const 2))",
            Trap::MemoryOutOfBounds,
        ),
        (
            "(memory.init $d (i32.const -1) (i32.const 0) (i32.const 2))",
            Trap::MemoryOutOfBounds,
        ),
        (
            "(data.drop $d) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))",
            Trap::MemoryOutOfBounds,
        ),
        (
            "(table.copy (i32.const 2) (i32.const 0) (i32.const 2))",
            Trap::TableOutOfBounds,
        ),
        (
            "(table.copy (i32.const 0) (i32.const -1) (i32.const 2))",
            Trap::TableOutOfBounds,
        ),
        (
            "(table.fill (i32.const 3) (ref.null func) (i32.const 1))",
            Trap::TableOutOfBounds,
        ),
        (
            "(table.init $e (i32.const 0) (i32.const 1) (i32.const 1))",
            Trap::TableOutOfBounds,
        ),
        (
            "(table.init $e (i32.const 3) (i32.const 0) (i32.const 1))",
            Trap::TableOutOfBounds,
        ),
        (
            "(elem.drop $e) (table.init $e (i32.const 0) (i32.const 0) (i32.const 1))",
            Trap::TableOutOfBounds,
        ),
        ("(drop (table.get (i32.const 3)))", Trap::TableOutOfBounds),
        (
            "(table.set (i32.const -1) (ref.null func))",
            Trap::TableOutOfBounds,
        ),
    ] {
        let text = format!(
            r#"(module (memory (export "memory") 1) (data $d "four") (table 3 funcref)
              (func $f) (elem $e func $f)
              (func (export "nfw_filter") (param i32 i32 i32) (result i32)
                {operation} i32.const 1))"#
        );
        assert_eq!(verdict(&text), Err(trap), "{operation}");
    }
}

#[test]
fn an_endless_loop_ends_with_its_fuel() {
    let mut instance = load(&filter("(loop (br 0)) i32.const 1"));
    for _ in 0..3 {
        let outcome = call(&mut instance);
        assert_eq!(outcome.verdict, Err(Trap::OutOfFuel));
        assert_eq!(outcome.fuel_used, FUEL);
    }
}

#[test]
fn bulk_operations_pay_for_what_they_move() {
    // 128 KiB in each round: 2,048 units.
    let body = "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x20000)) (br 0)) \
                i32.const 1";
    assert_eq!(verdict(&filter(body)), Err(Trap::OutOfFuel));
}

#[test]
fn calls_pay_for_their_frames() {
    // A frame of about 7,000 slots, which a call zeroes. 64 bytes of it cost one unit.
    let text = format!(
        r#"(module
          (func $wide (param i32) (if (local.get 0) (then {} {})))
          (func (export "nfw_filter") (param i32 i32 i32) (result i32)
            (call $wide (i32.const 0)) i32.const 1))"#,
        "local.get 0 ".repeat(7000),
        "drop ".repeat(7000),
    );
    let fuel = call(&mut load(&text)).fuel_used;
    assert!(
        fuel > 7000 / 8,
        "{fuel}: is patches/wasmi-1.1.0.patch applied? `cargo xtask test` does it"
    );
}

#[test]
fn floats_pay_for_being_soft() {
    let fuel = |operation: &str| {
        let text = format!(
            r#"(module (func (export "nfw_filter") (param i32 i32 i32) (result i32)
                 (local f64 i64 i32) {} i32.const 1))"#,
            operation.repeat(100)
        );
        call(&mut load(&text)).fuel_used
    };
    let integer = fuel("(local.set 4 (i64.mul (local.get 4) (local.get 4)))");
    for float in [
        "(local.set 3 (f64.div (local.get 3) (local.get 3)))",
        "(local.set 3 (f64.sqrt (local.get 3)))",
        "(local.set 3 (f64.convert_i64_u (local.get 4)))",
        "(local.set 4 (i64.trunc_f64_s (local.get 3)))",
        "(local.set 5 (f64.lt (local.get 3) (local.get 3)))",
    ] {
        let float = fuel(float);
        assert!(
            float > integer * 7,
            "{float}, {integer}: is patches/wasmi-1.1.0.patch applied? `cargo xtask test` does it"
        );
    }
}

#[test]
fn recursion_ends_with_the_stack() {
    let text = r#"(module
        (func $f (param i32 i32 i32) (result i32)
          (call $f (local.get 0) (local.get 1) (local.get 2)))
        (export "nfw_filter" (func $f)))"#;
    assert_eq!(verdict(text), Err(Trap::StackOverflow));
    // Large frames overflow the stack, too, at a smaller depth.
    let locals = "i64 ".repeat(1000);
    let text = format!(
        r#"(module (func $f (param i32 i32 i32) (result i32) (local {locals})
          (call $f (local.get 0) (local.get 1) (local.get 2)))
        (export "nfw_filter" (func $f)))"#
    );
    assert_eq!(verdict(&text), Err(Trap::StackOverflow));
}

#[test]
fn nothing_grows_while_packets_are_decided() {
    let body = "(i32.and (i32.eq (memory.grow (i32.const 1)) (i32.const -1))
                         (i32.eq (memory.grow (i32.const 0)) (i32.const 2)))";
    assert_eq!(verdict(&filter(body)), Ok(ACCEPT));
    let text = r#"(module (table $t 1 100 funcref)
        (func (export "nfw_filter") (param i32 i32 i32) (result i32)
          (i32.eq (table.grow $t (ref.null func) (i32.const 1)) (i32.const -1))))"#;
    assert_eq!(verdict(text), Ok(ACCEPT));
}

#[test]
fn a_trap_is_survived() {
    // Every other packet traps, each in another way.
    let text = r#"(module (memory (export "memory") 1)
        (func $f (call $f))
        (func (export "nfw_filter") (param i32 i32 i32) (result i32)
          (local $n i32)
          (local.set $n (i32.load (i32.const 0)))
          (i32.store (i32.const 0) (i32.add (local.get $n) (i32.const 1)))
          (block (block (block (block (block
            (br_table 0 1 0 2 0 3 4 (i32.rem_u (local.get $n) (i32.const 6))))
              (return (i32.const 1)))
            (call $f))
            (loop (br 0)))
            (return (i32.div_u (local.get $n) (i32.const 0))))
          unreachable))"#;
    let mut instance = load(text);
    for _ in 0..100 {
        let verdicts: [_; 6] = std::array::from_fn(|_| call(&mut instance).verdict);
        assert_eq!(
            verdicts,
            [
                Ok(ACCEPT),
                Err(Trap::StackOverflow),
                Ok(ACCEPT),
                Err(Trap::OutOfFuel),
                Ok(ACCEPT),
                Err(Trap::IntegerDivisionByZero)
            ]
        );
    }
}
