// SPDX-License-Identifier: GPL-2.0-only
//! Compiles and runs small functions.

mod common;

use common::{Instance, Outcome};
use nf_wasm_jit::{
    compile, compile_in_place, Buffer, Code, Environment, Reads, Results, Unsupported,
};

fn environment(pages: usize, table: &[Option<u32>]) -> Environment<'_> {
    Environment {
        memory_grows: false,
        memory_bytes: (pages << 16) as u64,
        table,
        frame_slots: &[10; 32],
        imports: &[],
        fuel: None,
        max_instructions: 1_000_000,
        parameters: &[],
        results: Results::Stay,
    }
}

fn instance(wasm: &[u8], pages: usize, globals: &[u64], table: &[Option<u32>]) -> Instance {
    let code = compile(wasm, "f", &environment(pages, table)).expect("code");
    Instance::of(&code, pages, globals)
}

fn run(body: &str, a: i32, b: i32) -> Result<u64, u32> {
    let text = format!(
        "(module (memory 1) (global $g (mut i32) (i32.const 7))
           (func (export \"f\") (param i32 i32 i32) (result i32) (local i32 i64) {body}))"
    );
    let wasm = wat::parse_str(text).unwrap();
    let mut instance = instance(&wasm, 1, &[7], &[]);
    let arguments = [a as u32 as u64, b as u32 as u64, 0];
    instance.call(arguments, 1_000_000).result
}

#[test]
fn arithmetic() {
    let add = "(i32.add (local.get 0) (local.get 1))";
    assert_eq!(run(add, 3, 4), Ok(7));
    assert_eq!(run(add, -1, 1), Ok(0));
    assert_eq!(
        run("(i32.sub (local.get 0) (local.get 1))", 3, 4),
        Ok(0xffff_ffff)
    );
    assert_eq!(
        run("(i32.div_s (local.get 0) (local.get 1))", -7, 2),
        Ok(-3_i32 as u32 as u64)
    );
    assert_eq!(
        run("(i32.div_u (local.get 0) (local.get 1))", -7, 2),
        Ok(0x7fff_fffc)
    );
    assert_eq!(run("(i32.div_u (local.get 0) (local.get 1))", 1, 0), Err(5));
    assert_eq!(
        run("(i32.div_s (local.get 0) (local.get 1))", i32::MIN, -1),
        Err(6)
    );
    assert_eq!(
        run("(i32.rem_s (local.get 0) (local.get 1))", i32::MIN, -1),
        Ok(0)
    );
    assert_eq!(
        run("(i32.rotl (local.get 0) (i32.const 8))", 0x1234_5678, 0),
        Ok(0x3456_7812)
    );
    assert_eq!(
        run("(i32.rotr (local.get 0) (local.get 1))", 0x1234_5678, 8),
        Ok(0x7812_3456)
    );
    assert_eq!(run("(i32.shl (local.get 0) (local.get 1))", 1, 33), Ok(2));
    assert_eq!(run("(i32.clz (local.get 0))", 1, 0), Ok(31));
    assert_eq!(
        run("(i32.extend8_s (local.get 0))", 0x80, 0),
        Ok(0xffff_ff80)
    );
    assert_eq!(run("(i32.lt_s (local.get 0) (local.get 1))", -1, 1), Ok(1));
    assert_eq!(run("(i32.lt_u (local.get 0) (local.get 1))", -1, 1), Ok(0));
    assert_eq!(
        run(
            "(select (i32.const 5) (i32.const 6) (i32.eqz (i32.gt_s (local.get 0) (local.get 1))))",
            1,
            0
        ),
        Ok(6)
    );
}

#[test]
fn memory() {
    assert_eq!(run("(i32.load (local.get 0))", 65_532, 0), Ok(0));
    assert_eq!(run("(i32.load (local.get 0))", 65_533, 0), Err(1));
    assert_eq!(run("(i32.load offset=65533 (local.get 0))", 0, 0), Err(1));
    assert_eq!(run("(i32.load offset=70000 (local.get 0))", 0, 0), Err(1));
    let body = "(i32.store offset=4 (local.get 0) (i32.const -2))
                (i32.load16_s offset=4 (local.get 0))";
    assert_eq!(run(body, 40_000, 0), Ok(0xffff_fffe));
    assert_eq!(
        run(
            "(i32.store8 (i32.const 40000) (i32.const 300)) (i32.load (i32.const 40000))",
            0,
            0
        ),
        Ok(44)
    );
}

#[test]
fn control() {
    // The sum of 1 to n.
    let sum = "(block (loop
        (br_if 1 (i32.eqz (local.get 0)))
        (local.set 3 (i32.add (local.get 3) (local.get 0)))
        (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
        (br 0)))
      (local.get 3)";
    assert_eq!(run(sum, 100, 0), Ok(5_050));
    assert_eq!(run("(loop (br 0)) (unreachable)", 0, 0), Err(9));
    let table = "(block (block (block (br_table 0 1 2 (local.get 0)))
        (return (i32.const 10))) (return (i32.const 11))) (i32.const 12)";
    for (index, expected) in [(0, 10), (1, 11), (2, 12), (3, 12), (-1, 12)] {
        assert_eq!(run(table, index, 0), Ok(expected));
    }
    let either = "(if (result i32) (local.get 0) (then (i32.const 1)) (else (i32.const 2)))";
    assert_eq!((run(either, 1, 0), run(either, 0, 0)), (Ok(1), Ok(2)));
    let global = "(global.set $g (i32.add (global.get $g) (local.get 0))) (global.get $g)";
    assert_eq!(run(global, 3, 0), Ok(10));
    let swap = "(local.get 0) (local.get 1) (loop (param i32 i32) (result i32)
        (local.set 3) (local.set 2) (local.get 3) (local.get 2)
        (local.set 0 (i32.add (local.get 0) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get 0) (i32.const 6)))
        (i32.sub))";
    assert_eq!(run(swap, 1, 9), Ok(8));
}

#[test]
fn calls() {
    let wasm = wat::parse_str(
        r#"(module
          (type $t (func (param i32) (result i32)))
          (func $fib (type $t)
            (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
              (then (local.get 0))
              (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                             (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
          (func $double (type $t) (i32.mul (local.get 0) (i32.const 2)))
          (func $endless (type $t) (call $endless (local.get 0)))
          (table 4 funcref) (elem (i32.const 0) $fib $double $endless)
          (func (export "f") (param i32 i32 i32) (result i32)
            (call_indirect (type $t) (local.get 1) (local.get 0))))"#,
    )
    .unwrap();
    let table = [Some(0), Some(1), Some(2), None];
    let mut instance = instance(&wasm, 0, &[], &table);
    let mut call = |f: u64, x: u64| instance.call([f, x, 0], 10_000_000).result;
    assert_eq!(call(0, 20), Ok(6_765));
    assert_eq!(call(1, 20), Ok(40));
    assert_eq!(call(2, 20), Err(8));
    assert_eq!(call(3, 20), Err(3));
    assert_eq!(call(4, 20), Err(2));
}

#[test]
fn fuel_is_counted() {
    let wasm = wat::parse_str(
        r#"(module (func (export "f") (param i32 i32 i32) (result i32)
             (if (local.get 0) (then (nop)) (else (drop (i32.const 1)))) (i32.const 3)))"#,
    )
    .unwrap();
    let mut instance = instance(&wasm, 0, &[], &[]);
    // The function pays for itself, its frame, local.get, if, i32.const. Each branch pays for
    // itself, the second also for a constant.
    let outcome = |result, fuel| Outcome { result, fuel };
    assert_eq!(instance.call([1, 0, 0], 100), outcome(Ok(3), 94));
    assert_eq!(instance.call([0, 0, 0], 100), outcome(Ok(3), 93));
    assert_eq!(instance.call([0, 0, 0], 6), outcome(Err(9), -1));
}

#[test]
fn globals_keep_what_is_set() {
    let text = r#"(module (global $g (mut i32) (i32.const 7))
        (func (export "f") (param i32 i32 i32) (result i32)
          (global.set $g (i32.add (global.get $g) (local.get 0))) (global.get $g)))"#;
    let wasm = wat::parse_str(text).unwrap();
    let mut instance = instance(&wasm, 0, &[7], &[]);
    assert_eq!(instance.call([3, 0, 0], 1_000).result, Ok(10));
    assert_eq!(instance.global(0), 10);
}

#[test]
fn what_lies_deep_on_the_stack_stays_what_it_was() {
    // Each local.get pushes the value that the local has at that time. The hundred values only fit
    // into a frame of ten slots because they do not become variables.
    let body = "local.get 0 ".repeat(30)
        + &"i32.const 0 ".repeat(100)
        + "i32.const 1000 local.set 0 local.get 0 "
        + &"i32.add ".repeat(130);
    assert_eq!(run(&body, 2, 0), Ok(1_060));
}

#[test]
fn few_bytes_make_no_large_program() {
    let results = "i32 ".repeat(16);
    let values = "local.get 0 ".repeat(16);
    // Each takes four bytes, and makes sixteen copies or variables.
    let branches = format!(
        "block (result {results}) {values} {} end {}",
        "local.get 0 br_if 0 ".repeat(30_000),
        "drop ".repeat(16)
    );
    let calls = "call $many call $take ".repeat(30_000);
    for body in [branches, calls] {
        let wasm = wat::parse_str(format!(
            r#"(module (func $many (result {results}) {values_of_many})
                 (func $take (param {results}))
                 (func (export "f") (param i32 i32 i32) (result i32) {body} (i32.const 1)))"#,
            values_of_many = "i32.const 1 ".repeat(16),
        ))
        .unwrap();
        let environment = Environment {
            max_instructions: usize::MAX,
            ..environment(0, &[])
        };
        let refused = compile(&wasm, "f", &environment).expect_err("too large");
        assert_eq!(refused, Unsupported::Size);
    }
}

/// Compiles a filter with this body for packets in place. The buffer is at the end of the memory.
fn in_place(body: &str) -> Option<Code> {
    let text = format!(
        r#"(module (memory 1) (global $g (mut i32) (i32.const 7)) (func $nothing)
           (func (export "f") (param $ctx i32) (param $pkt i32) (param $len i32) (result i32)
             (local $i i32) {body}))"#
    );
    let wasm = wat::parse_str(text).unwrap();
    let buffer = Buffer {
        context: 65_536 - 48 - 256,
        window: 65_536 - 256,
        snaplen: 256,
    };
    let environment = Environment {
        parameters: &[Some(buffer.context), Some(buffer.window), None],
        results: Results::Verdict,
        ..environment(1, &[])
    };
    compile_in_place(&wasm, "f", &environment, buffer)
}

#[test]
fn what_only_reads_is_compiled_for_packets_in_place() {
    let reads = |body: &str| in_place(body).map(|code| code.in_place);
    let (context, window) = (0, 0);
    assert_eq!(reads("(i32.const 1)"), Some(Reads { context, window }));
    let both =
        "(i32.eq (i32.load offset=16 (local.get $ctx)) (i32.load8_u offset=9 (local.get $pkt)))";
    let (context, window) = (1 << 4, 10);
    assert_eq!(reads(both), Some(Reads { context, window }));
    // Two words of the context. A computed address does not count as a known read.
    let wide = "(i64.eqz (i64.load offset=20 (local.get $ctx)))
        (i32.load8_u (i32.add (local.get $pkt) (local.get $len))) (i32.and)";
    let (context, window) = (3 << 5, 0);
    assert_eq!(reads(wide), Some(Reads { context, window }));

    let long = "(local.set $i (i32.const 1))".repeat(3_000);
    for effect in [
        "(i32.store (local.get $ctx) (i32.const 1))",
        "(global.set $g (i32.const 1))",
        "(call $nothing)",
        "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))",
        &long,
    ] {
        assert_eq!(reads(&format!("{effect} {both}")), None, "{effect}");
    }
}

#[test]
fn pointers_into_a_packet_are_followed() {
    // Whether the sum of all bytes is even, with a pointer that moves through the window.
    let body = "(local.set $i (local.get $pkt))
        (block (loop
          (br_if 1 (i32.eq (local.get $i) (i32.add (local.get $pkt) (local.get $len))))
          (local.set $ctx (i32.add (local.get $ctx) (i32.load8_u (local.get $i))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br 0)))
        (i32.and (local.get $ctx) (i32.const 1))";
    let code = in_place(body).expect("code");
    let mut instance = Instance::of(&code, 1, &[7]);
    instance.is_filter = true;
    let (context, window) = (65_536 - 48 - 256, 65_536 - 256);
    let mut sum = |packet: &[u8], len| {
        instance.packet = packet.to_vec();
        instance.call([context, window, len], 100_000).result
    };
    assert_eq!(sum(&[1, 2, 3, 4], 4), Ok(0));
    assert_eq!(sum(&[1, 2, 4, 4], 4), Ok(1));
    // The linear bytes end too early: the code bails out.
    assert_eq!(sum(&[1, 2, 3, 4], 5), Err(1));
}
