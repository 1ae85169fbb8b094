// SPDX-License-Identifier: GPL-2.0-only
//! Compares operations on constants at the edges of each width with the interpreter. Constant
//! folding must compute the same results. Its own arithmetic must not overflow, which debug
//! assertions check.

mod common;
#[allow(dead_code, reason = "these modules have no memory")]
#[path = "common/reference.rs"]
mod reference;

use common::Instance;
use nf_wasm_jit::{compile, Environment, Results};
use reference::Reference;

const BINARY: [&str; 11] = [
    "add", "sub", "mul", "and", "or", "xor", "shl", "shr_u", "shr_s", "rotl", "rotr",
];
const DIVIDE: [&str; 4] = ["div_u", "div_s", "rem_u", "rem_s"];
const COMPARE: [&str; 10] = [
    "eq", "ne", "lt_u", "lt_s", "gt_u", "gt_s", "le_u", "le_s", "ge_u", "ge_s",
];
const UNARY: [&str; 5] = ["clz", "ctz", "popcnt", "extend8_s", "extend16_s"];

/// The minimum and maximum of each width, signed and unsigned, shift counts at the width, and the
/// neighbours of all these.
const EDGES: [i64; 16] = [
    0,
    1,
    -1,
    31,
    32,
    33,
    63,
    64,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
];
const ARGUMENTS: [u32; 5] = [0, 1, 0x1234_5678, 0x8000_0000, 0xffff_ffff];

/// Compares a function with the interpreter. Its statements may set local 3 (`i64`), the result.
fn check(statements: &str) {
    let wasm = wat::parse_str(format!(
        r#"(module (func (export "f") (param i32 i32 i32) (result i32) (local i64)
             {statements}
             (i32.xor (i32.wrap_i64 (local.get 3))
               (i32.wrap_i64 (i64.shr_u (local.get 3) (i64.const 32))))))"#
    ))
    .expect("a module");
    let mut reference = Reference::new(&wasm);
    let layout = reference.instance.layout(&mut reference.store).unwrap();
    let environment = Environment {
        memory_bytes: 0,
        memory_grows: false,
        table: &[],
        frame_slots: &layout.frame_slots,
        imports: &[],
        fuel: None,
        max_instructions: 1 << 20,
        parameters: &[],
        results: Results::Stay,
    };
    let code = compile(&wasm, "f", &environment).expect("code");
    let mut compiled = Instance::of(&code, 0, &[]);
    for argument in ARGUMENTS {
        let arguments = [argument.into(), 0, 0];
        let (expected, fuel) = reference.call(arguments, 1 << 20);
        let outcome = compiled.call(arguments, 1 << 20);
        assert_eq!(outcome.result, expected, "{argument:#x}: {statements}");
        assert_eq!(outcome.fuel, fuel, "{argument:#x}: {statements}");
    }
}

/// The argument, in this width.
fn argument(width: &str) -> &'static str {
    match width {
        "i32" => "(local.get 0)",
        _ => "(i64.mul (i64.extend_i32_s (local.get 0)) (i64.const 0x100000001))",
    }
}

/// A constant, in this width.
fn constant(width: &str, value: i64) -> String {
    match width {
        "i32" => format!("(i32.const {})", value as i32),
        _ => format!("(i64.const {value})"),
    }
}

/// Mixes `value` into local 3, without losing a bit of either.
fn mix(width: &str, value: &str) -> String {
    let value = match width {
        "i32" => format!("{value} (i64.extend_i32_u)"),
        _ => value.to_owned(),
    };
    format!(
        "{value} (i64.mul (local.get 3) (i64.const 0x5851f42d4c957f2d)) (i64.add) (local.set 3)\n"
    )
}

/// Both orders of the operands, and both as constants.
fn operands(width: &str, edge: i64) -> [String; 4] {
    let (constant, argument) = (constant(width, edge), argument(width));
    [
        format!("{argument} {constant}"),
        format!("{constant} {argument}"),
        format!("{constant} {constant}"),
        format!(
            "{constant} (i32.const -1) {}",
            if width == "i32" {
                ""
            } else {
                "(i64.extend_i32_s)"
            }
        ),
    ]
}

#[test]
fn what_has_a_result_has_the_same() {
    for width in ["i32", "i64"] {
        for edge in EDGES {
            let mut statements = String::new();
            for operands in operands(width, edge) {
                for op in BINARY {
                    statements += &mix(width, &format!("{operands} ({width}.{op})"));
                }
                for op in COMPARE {
                    statements += &mix("i32", &format!("{operands} ({width}.{op})"));
                }
            }
            for op in UNARY {
                let constant = constant(width, edge);
                statements += &mix(width, &format!("({width}.{op} {constant})"));
            }
            check(&statements);
        }
    }
}

#[test]
fn what_may_trap_traps_alike() {
    for width in ["i32", "i64"] {
        for edge in EDGES {
            for operands in operands(width, edge) {
                for op in DIVIDE {
                    check(&mix(width, &format!("{operands} ({width}.{op})")));
                }
            }
        }
    }
}
