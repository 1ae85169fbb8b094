// SPDX-License-Identifier: GPL-2.0-only
//! A packet allocates nothing, except for the error of a trap.

mod common;

use common::counting::{self, RESERVE};
use common::{call, load};
use nf_wasm_shared::abi::trap::Trap;

/// Runs `f`. Also returns the number of its allocations, and the peak of the bytes that were
/// allocated.
fn counted<T>(f: impl FnOnce() -> T) -> (T, usize, usize) {
    let (value, allocated) = counting::counted(f);
    assert_eq!(allocated.live, 0, "a packet leaked memory");
    (value, allocated.calls, allocated.peak)
}

/// A filter that uses every capability, recurses nearly to the maximum depth, has a large frame,
/// and tries to grow. Then it runs `tail`.
fn busy(tail: &str) -> String {
    let locals = "i64 ".repeat(200);
    format!(
        r#"(module
          (import "nfw.packet" "len" (func $len (result i32)))
          (import "nfw.packet" "load" (func $load (param i32 i32 i32) (result i32)))
          (import "nfw.log" "write" (func $write (param i32 i32) (result i32)))
          (import "nfw.clock" "monotonic" (func $mono (result i64)))
          (import "nfw.clock" "realtime" (func $real (result i64)))
          (import "nfw.mark" "get" (func $get (result i32)))
          (import "nfw.mark" "set" (func $set (param i32) (result i32)))
          (memory (export "memory") 1)
          (table 4 100 funcref) (elem (i32.const 0) $depth)
          (type $t (func (param i32) (result i32)))
          (func $depth (type $t)
            (if (result i32) (local.get 0)
              (then (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))
              (else (i32.const 1))))
          (func $wide (result i32) (local {locals}) i32.const 1)
          (func $forever (call $forever))
          (func (export "nfw_filter") (param i32 i32 i32) (result i32)
            (drop (call $len))
            (drop (call $load (i32.const 500) (i32.const 0) (i32.const 100)))
            (drop (call $load (i32.const 500) (i32.const 0) (i32.const 1000)))
            (drop (call $write (i32.const 0) (i32.const 300)))
            (drop (call $mono)) (drop (call $real))
            (drop (call $set (call $get)))
            (drop (call $wide))
            (drop (call $depth (i32.const 250)))
            (memory.copy (i32.const 0) (i32.const 1000) (i32.const 5000))
            (drop (memory.grow (i32.const 1)))
            (drop (table.grow (ref.null func) (i32.const 1)))
            {tail}))"#
    )
}

#[test]
fn packets_allocate_nothing_and_traps_their_error() {
    // Also count the first packet.
    let mut instance = load(&busy("i32.const 1"));
    for _ in 0..3 {
        let (outcome, calls, _) = counted(|| call(&mut instance));
        assert_eq!(outcome.verdict, Ok(1));
        assert_eq!(calls, 0);
    }
    let mut instance = load(&busy("i32.const 9"));
    let (outcome, calls, _) = counted(|| call(&mut instance));
    assert_eq!((outcome.verdict, calls), (Err(Trap::UnknownVerdict), 0));

    let mut max = (0, 0);
    for (tail, trap) in [
        ("unreachable", Trap::Unreachable),
        ("(call $forever) i32.const 1", Trap::StackOverflow),
        ("(loop (br 0)) i32.const 1", Trap::OutOfFuel),
        ("(i32.load (i32.const -1))", Trap::MemoryOutOfBounds),
        ("(i32.div_u (i32.const 1) (i32.const 0))", Trap::IntegerDivisionByZero),
        ("(call_indirect (type $t) (i32.const 1) (i32.const 9))", Trap::TableOutOfBounds),
        ("(call_indirect (type $t) (i32.const 1) (i32.const 2))", Trap::IndirectCallToNull),
        ("(table.fill (i32.const 3) (ref.null func) (i32.const 9)) i32.const 1", Trap::TableOutOfBounds),
        ("(memory.fill (i32.const 0) (i32.const 0) (i32.const -1)) i32.const 1", Trap::MemoryOutOfBounds),
        ("(call $write (i32.const -1) (i32.const 5))", Trap::MemoryOutOfBounds),
        ("(loop (drop (call $get)) (br 0)) i32.const 1", Trap::OutOfFuel),
        ("(loop (drop (call $load (i32.const 0) (i32.const 0) (i32.const 600))) (br 0)) i32.const 1", Trap::OutOfFuel),
        ("(loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 131072)) (br 0)) i32.const 1", Trap::OutOfFuel),
    ] {
        let mut instance = load(&busy(tail));
        for _ in 0..3 {
            let (outcome, calls, bytes) = counted(|| call(&mut instance));
            assert_eq!(outcome.verdict, Err(trap), "{tail}");
            assert!(calls <= 3 && bytes <= RESERVE, "{tail}: {calls} allocations, {bytes} bytes");
            max = (max.0.max(calls), max.1.max(bytes));
        }
    }
    println!(
        "a trap makes at most {} allocations, {} bytes at once",
        max.0, max.1
    );
}
