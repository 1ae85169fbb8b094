// SPDX-License-Identifier: GPL-2.0-only
//! Modules that may take a compiler more than linear time. `engine/tests/work.rs` compiles each
//! shape at two sizes and compares the numbers of yields.

use nf_wasm_shared::abi::limits;

use crate::bytes::{function_type, leb, Parts};
use crate::heavy::ACCEPTS;
use crate::{loaded, Case};

const GET: u8 = 0x20;
const SET: u8 = 0x21;
const DROP: u8 = 0x1a;
const BLOCK: [u8; 2] = [0x02, 0x40];
const LOOP: u8 = 0x03;
const BR_IF: u8 = 0x0d;
const BR_TABLE: u8 = 0x0e;
const CALL_INDIRECT: u8 = 0x11;
const I32: u8 = 0x7f;
const END: u8 = 0x0b;

/// A construct that can be repeated any number of times.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The repeated construct.
    pub name: &'static str,
    /// Makes the module with so many repetitions.
    pub module: fn(u32) -> Vec<u8>,
    /// A small and a large number of repetitions.
    pub sizes: [u32; 2],
}

/// All shapes.
pub const SHAPES: &[Shape] = &[
    Shape {
        name: "loops with 32 parameters around each other",
        module: nested_loops,
        sizes: [60, 240],
    },
    Shape {
        name: "pointers handed on in a loop with br_tables",
        module: |tables| pointers_around_tables(tables, TARGETS_IN_PLACE),
        sizes: [7, 28],
    },
    Shape {
        name: "the largest br_tables in a loop",
        module: |tables| pointers_around_tables(tables, limits::BR_TABLE_TARGETS),
        sizes: [7, 28],
    },
    Shape {
        name: "checks that are raised",
        module: raised_checks,
        sizes: [2_000, 8_000],
    },
    Shape {
        name: "br_tables to all levels",
        module: tables_to_all_levels,
        sizes: [60, 240],
    },
    Shape {
        name: "branches with 32 values that change places",
        module: branches_that_swap,
        sizes: [500, 2_000],
    },
    Shape {
        name: "functions in the table, and calls of them",
        module: |count| calls_through_the_table(count, 4 * count),
        sizes: [60, 240],
    },
    Shape {
        name: "types that the table is called by",
        module: types_called_by,
        sizes: [200, 800],
    },
    Shape {
        name: "functions of 1,024 locals and nothing else",
        module: locals_and_nothing,
        sizes: [1_000, 4_000],
    },
    Shape {
        name: "jumps that get longer because others do",
        module: jumps_over_jumps,
        sizes: [1_800, 7_000],
    },
    Shape {
        name: "one variable through loops, and many calls",
        module: variables_across_calls,
        sizes: [2_000, 8_000],
    },
];

/// The cases.
pub const CASES: &[Case] = &[
    loaded(
        "240 loops with 32 parameters around each other",
        ACCEPTS,
        || nested_loops(240),
    ),
    loaded(
        "28 br_tables in a loop that hands pointers on",
        ACCEPTS,
        || pointers_around_tables(28, TARGETS_IN_PLACE),
    ),
    loaded("28 of the largest br_tables in a loop", ACCEPTS, || {
        pointers_around_tables(28, limits::BR_TABLE_TARGETS)
    }),
    loaded("8,000 checks that are raised", ACCEPTS, || {
        raised_checks(8_000)
    }),
    loaded("240 br_tables to all levels", ACCEPTS, || {
        tables_to_all_levels(240)
    }),
    loaded(
        "2,000 branches with 32 values that change places",
        ACCEPTS,
        || branches_that_swap(2_000),
    ),
    loaded(
        "240 functions in the table and 960 calls of them",
        ACCEPTS,
        || calls_through_the_table(240, 960),
    ),
    loaded("800 types that the table is called by", ACCEPTS, || {
        types_called_by(800)
    }),
    loaded(
        "4,000 functions of 1,024 locals and nothing else",
        ACCEPTS,
        || locals_and_nothing(4_000),
    ),
    loaded(
        "7,000 jumps that get longer because others do",
        ACCEPTS,
        || jumps_over_jumps(7_000),
    ),
    loaded("a variable through loops and 8,000 calls", ACCEPTS, || {
        variables_across_calls(8_000)
    }),
];

fn get(local: u32) -> Vec<u8> {
    [&[GET][..], &leb(local)].concat()
}

fn set(local: u32) -> Vec<u8> {
    [&[SET][..], &leb(local)].concat()
}

/// Types from index 1 on: `() -> ()`, and one with 32 parameters.
fn types() -> Vec<Vec<u8>> {
    vec![
        function_type(&[], &[]),
        function_type(&[I32; limits::PARAMS as usize], &[]),
    ]
}

const NOTHING: u32 = 1;
const THIRTY_TWO: u8 = 2;

/// A filter that can reach functions with these bodies. All locals are `i32`.
fn functions(locals: u32, bodies: impl IntoIterator<Item = Vec<u8>>) -> Parts {
    let locals = [&[1][..], &leb(locals), &[I32]].concat();
    let whole = |body: Vec<u8>| (NOTHING, [&locals[..], &body, &[END]].concat());
    Parts {
        types: types(),
        functions: bodies.into_iter().map(whole).collect(),
        ..Parts::default()
    }
}

/// Nested loops with 32 parameters. From each, the next inner one branches back. The outermost loop
/// writes a local that only it reads. This fact takes as many rounds of analysis as there are loops
/// to reach the innermost.
fn nested_loops(depth: u32) -> Vec<u8> {
    let locals = 8;
    let mut body: Vec<u8> = (0..locals)
        .flat_map(|local| [get(local), set(locals - 1 - local)].concat())
        .collect();
    body.extend((0..limits::PARAMS).flat_map(|_| get(3)));
    for level in 0..depth {
        body.extend([LOOP, THIRTY_TWO]);
        if level == 0 {
            body.extend([&get(0)[..], &[0x41, 1, 0x6a], &set(1)].concat());
        } else {
            body.extend([&get(2)[..], &[BR_IF, 1]].concat());
        }
    }
    body.extend([DROP; limits::PARAMS as usize]);
    body.extend(vec![END; depth as usize]);
    functions(locals, [body]).filter()
}

/// With this many targets, a function with 28 `br_table`s is still compiled a second time, for
/// packets in place. That is not done for more than 4,096 operators and targets.
const TARGETS_IN_PLACE: u32 = 128;

/// A filter that only reads. In a loop, a pointer moves from local to local against the order. All
/// edges of each `br_table` go to the same block.
fn pointers_around_tables(tables: u32, targets: u32) -> Vec<u8> {
    let targets = [leb(targets), vec![0; targets as usize + 1]].concat();
    let mut body = [&[1][..], &leb(1_000), &[I32], &get(1), &set(4)].concat();
    body.extend([&BLOCK[..], &[LOOP, 0x40], &get(3), &[BR_IF, 1]].concat());
    body.extend(
        (4..12)
            .rev()
            .flat_map(|local| [get(local), set(local + 1)].concat()),
    );
    for _ in 0..tables {
        body.extend([&BLOCK[..], &get(2), &[BR_TABLE], &targets, &[END]].concat());
    }
    // The loop runs once, as local 3 is 0. It reads the packet's first byte.
    body.extend(
        [
            &get(4)[..],
            &[0x2d, 0, 0, DROP, 0x0c, 1, END, END, 0x41, 1, END],
        ]
        .concat(),
    );
    Parts {
        memory: true,
        body: Some(body),
        ..Parts::default()
    }
    .filter()
}

/// Loads with rising offsets. Each extends the earlier checks, and what was derived from them.
fn raised_checks(loads: u32) -> Vec<u8> {
    let load = |at: u32| {
        [
            &get(0)[..],
            &[0x2d, 0],
            &leb(32_768 * (at % 2) + at),
            &[DROP],
        ]
        .concat()
    };
    Parts {
        memory: true,
        ..functions(1, [(0..loads).flat_map(load).collect::<Vec<u8>>()])
    }
    .filter()
}

/// Blocks and loops at the maximum depth. The innermost has `br_table`s to all of them, and so
/// branches back.
fn tables_to_all_levels(tables: u32) -> Vec<u8> {
    let depth = limits::NESTING - 2;
    let targets: Vec<u8> = (0..depth).flat_map(leb).collect();
    let mut body: Vec<u8> = (0..depth)
        .flat_map(|level| [[0x02, LOOP][level as usize % 2], 0x40])
        .collect();
    let local = |at: u32| at % 64;
    for at in 0..tables {
        let table = [&leb(depth - 1)[..], &targets].concat();
        body.extend([&BLOCK[..], &get(local(at)), &[BR_IF, 0]].concat());
        body.extend([&get(local(at + 1))[..], &[BR_TABLE], &table, &[END]].concat());
        body.extend([&get(local(at + 2))[..], &set(local(at + 3))].concat());
    }
    body.extend(vec![END; depth as usize]);
    functions(64, [body]).filter()
}

/// Branches back to a loop with the values that the loop received, moved by one place.
fn branches_that_swap(branches: u32) -> Vec<u8> {
    let params = limits::PARAMS;
    let mut body: Vec<u8> = (0..params).flat_map(|_| get(0)).collect();
    body.extend([LOOP, THIRTY_TWO]);
    for _ in 0..branches {
        // The top value changes, so that every value gets another place on the stack.
        body.extend([&set(1)[..], &get(0), &get(1), &[BR_IF, 0]].concat());
    }
    body.extend([DROP; limits::PARAMS as usize]);
    body.push(END);
    functions(2, [body]).filter()
}

/// Functions of one type, all in the table, and calls by that type: each call may reach any of
/// them.
fn calls_through_the_table(functions_in_table: u32, calls: u32) -> Vec<u8> {
    let call = [0x41, 0, CALL_INDIRECT, NOTHING as u8, 0];
    let mut bodies = vec![Vec::new(); functions_in_table as usize];
    bodies.push(call.repeat(calls as usize));
    let indices: Vec<u8> = (1..=functions_in_table).flat_map(leb).collect();
    let elements = [
        &[1, 0, 0x41, 0, END][..],
        &leb(functions_in_table),
        &indices,
    ]
    .concat();
    Parts {
        table: functions_in_table,
        elements: Some(elements),
        ..functions(1, bodies)
    }
    .filter()
}

/// Calls by `count` types, through a table of the maximum size.
fn types_called_by(count: u32) -> Vec<u8> {
    let different = |n: u32| -> Vec<u8> {
        let bits = (0..10).map(|bit| if (n >> bit) & 1 == 0 { I32 } else { 0x7e });
        bits.collect()
    };
    let mut types = types();
    let mut calls = Vec::new();
    for n in 0..count {
        let params = different(n);
        for param in &params {
            calls.extend(if *param == I32 { [0x41, 0] } else { [0x42, 0] });
        }
        calls.extend(
            [
                &[0x41, 0, CALL_INDIRECT][..],
                &leb(types.len() as u32 + 1),
                &[0],
            ]
            .concat(),
        );
        types.push(function_type(&params, &[]));
    }
    Parts {
        types,
        table: limits::TABLE_ELEMENTS,
        ..functions(1, [calls])
    }
    .filter()
}

fn locals_and_nothing(count: u32) -> Vec<u8> {
    functions(limits::LOCALS, vec![Vec::new(); count as usize]).filter()
}

/// Blocks whose jumps are about as long as the reach of a short jump.
fn jumps_over_jumps(jumps: u32) -> Vec<u8> {
    let mut body = Vec::new();
    for at in 0..jumps {
        // A far jump to the end of everything, among near ones.
        body.extend([&get(0)[..], &[BR_IF, 0]].concat());
        body.extend([&BLOCK[..], &get(1), &[BR_IF, 0], &get(0), &set(1), &[END]].concat());
        if at % 3 == 0 {
            body.extend([&get(0)[..], &get(1), &[0x6c], &set(2)].concat());
        }
    }
    let body = [&BLOCK[..], &body, &[END]].concat();
    functions(3, [body]).filter()
}

/// Values that live across many operations that clobber most registers.
fn variables_across_calls(calls: u32) -> Vec<u8> {
    let mut body = vec![LOOP, 0x40];
    for at in 0..calls {
        // clz calls a helper. The local is live throughout.
        body.extend([&get(at % 8)[..], &[0x67], &set((at + 1) % 8)].concat());
    }
    body.extend([&get(0)[..], &[BR_IF, 0, END]].concat());
    functions(8, [body]).filter()
}
