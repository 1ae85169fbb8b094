// SPDX-License-Identifier: GPL-2.0-only
//! The fuel of operators. It is roughly proportional to the time that the interpreter takes.
//! `nf-wasm-hostile ops` measures the time per unit for each.

mod common;

use common::{call, options, Packet};
use nf_wasm_engine::Instance;
use nf_wasm_hostile::ops::{self, Op};
use wasmparser::{Operator, Parser, Payload};

/// The fuel of a case beyond that of its operators: for the bytes that they move and the functions
/// that they call. Negative if a branch is not taken.
const ON_TOP: &[(&str, i64)] = &[
    ("memory.fill, 64 KiB", 1024),
    ("memory.copy, 64 KiB", 1024),
    ("memory.copy, upwards 64 KiB", 1024),
    ("memory.init, 4 KiB", 64),
    ("table.fill, 2000", 250),
    ("table.copy, 2000", 250),
    ("table.init, 64", 8),
    ("if else", -2),
    ("call", 1),
    ("call, 3 parameters", 2),
    ("call, 7 parameters", 1),
    ("call, 32 parameters", 5),
    ("call, 16 results", 19),
    ("call, 1,000 locals", 126),
    ("call, 7,000 slots", 878),
    ("call_indirect", 1),
    ("call_indirect, 32 parameters", 5),
    ("call_indirect, imported", 10),
    ("nested calls, 250 deep", 3253),
    ("nested calls of 30 slots, 200 deep", 3407),
    ("nfw.packet len", 10),
    ("nfw.packet load, 0 bytes", 10),
    ("nfw.packet load, 63 bytes", 10),
    ("nfw.packet load, all", 35),
    ("nfw.packet load, the last byte", 10),
    ("nfw.packet load, EFAULT", 10),
    ("nfw.packet load, EFAULT 128 KiB", 2058),
    ("nfw.log write, 0 bytes", 20),
    ("nfw.log write, 63 bytes", 35),
    ("nfw.log write, 256 bytes", 84),
    ("nfw.log write, 128 KiB", 84),
    ("nfw.clock monotonic", 10),
    ("nfw.clock realtime", 10),
    ("nfw.mark get", 10),
    ("nfw.mark set", 10),
];

/// The fuel of an operator, which its region pays on entry.
fn fuel_of(operator: &Operator<'_>) -> i64 {
    match operator {
        Operator::Nop
        | Operator::Block { .. }
        | Operator::Else
        | Operator::End
        | Operator::Drop => 0,
        // For the operators in the loop.
        Operator::Loop { .. } => 1,
        // For itself, and for its branch.
        Operator::If { .. } => 2,
        Operator::Call { .. } => 6,
        Operator::CallIndirect { .. } => 8,
        Operator::MemoryFill { .. }
        | Operator::MemoryCopy { .. }
        | Operator::MemoryInit { .. }
        | Operator::TableFill { .. }
        | Operator::TableCopy { .. }
        | Operator::TableInit { .. } => 4,
        Operator::MemoryGrow { .. } | Operator::TableGrow { .. } => 8,
        _ => 1,
    }
}

/// The sum of the fuel of the module's operators.
fn written(wasm: &[u8]) -> i64 {
    let mut sum = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            let operators = body.get_operators_reader().unwrap().into_iter();
            sum += operators.map(|it| fuel_of(&it.unwrap())).sum::<i64>();
        }
    }
    sum
}

/// The fuel of running it seventeen times, minus the fuel of running it once.
fn used(op: &Op) -> i64 {
    let [once, often] = [1, 17].map(|times| {
        let packet = Packet::new(&[0; 1000]);
        let mut instance = Instance::new(&op.times(times), &options(), packet)
            .unwrap_or_else(|refusal| panic!("{}: {refusal}", op.name));
        let outcome = call(&mut instance);
        assert_eq!(outcome.verdict, Ok(1), "{}", op.name);
        outcome.fuel_used as i64
    });
    often - once
}

#[test]
fn operators_are_charged_what_they_cost() {
    let all = ops::all();
    for (name, _) in ON_TOP {
        assert!(all.iter().any(|op| op.name == *name), "no {name}");
    }
    let mut wrong = Vec::new();
    for op in all {
        let known = ON_TOP.iter().find(|(name, _)| *name == op.name);
        let expected = known.map_or(0, |(_, fuel)| *fuel);
        let [once, often] = [1, 17].map(|times| written(&op.times(times)));
        let on_top = used(&op) - (often - once);
        if on_top != 16 * expected {
            wrong.push(format!("(\"{}\", {}),", op.name, on_top as f64 / 16.0));
        }
    }
    assert!(
        wrong.is_empty(),
        "is patches/wasmi-1.1.0.patch applied? `cargo xtask test` does it\n{}",
        wrong.join("\n")
    );
}
