// SPDX-License-Identifier: GPL-2.0-only
//! Modules of the maximum size that repeat one construct. Validating and translating them takes a
//! hundred million instructions and more. The engine's tests load them, and `nf-wasm-hostile`
//! measures them. The subject `hostile` of the machine's tests leaves them out.

use nf_wasm_shared::abi::limits;

use crate::bytes::{function_type, leb, Parts};
use crate::heavy::ACCEPTS;
use crate::{loaded, Case};

/// Type indices; 0 is the type of `nfw_filter`, and [`types`] follow: `() -> ()`, then 32
/// parameters and 16 results, then no parameters and 16 results, then 16 parameters and no results.
const NOTHING: u32 = 1;
const WIDE: u8 = 2;
const TO_SIXTEEN: u8 = 3;
const SIXTEEN: u8 = 4;

fn types() -> Vec<Vec<u8>> {
    vec![
        function_type(&[], &[]),
        function_type(
            &[0x7f; limits::PARAMS as usize],
            &[0x7f; limits::RESULTS as usize],
        ),
        function_type(&[], &[0x7f; limits::RESULTS as usize]),
        function_type(&[0x7f; limits::RESULTS as usize], &[]),
    ]
}

fn with_functions(functions: Vec<(u32, Vec<u8>)>) -> Vec<u8> {
    Parts {
        types: types(),
        functions,
        ..Parts::default()
    }
    .filter()
}

/// A module of nearly a megabyte. Its functions have the maximum length and `locals` locals of type
/// `i32`. Each repeats `code` between `begin` and `end`.
fn dense(locals: u32, begin: &[u8], code: &[u8], end: &[u8]) -> Vec<u8> {
    let locals = [&[1][..], &leb(locals), &[0x7f]].concat();
    let fixed = locals.len() + begin.len() + end.len() + 1;
    let times = (limits::FUNCTION_BYTES as usize - fixed) / code.len();
    let body = [&locals[..], begin, &code.repeat(times), end, &[0x0b]].concat();
    let functions = limits::MODULE_BYTES as usize / (body.len() + 64);
    with_functions(vec![(NOTHING, body); functions])
}

/// Constants that all differ and are too large to be encoded in an operation. `then` uses each, for
/// example with `drop`.
fn constants(opcode: u8, bytes: usize, then: &[u8]) -> Vec<u8> {
    let mut body = vec![1, 1, 0x7f];
    let mut n: u64 = 0x0123_4567;
    while body.len() + bytes + then.len() < limits::FUNCTION_BYTES as usize {
        body.push(opcode);
        // LEB128 of exactly `bytes` bytes, with the sign bit clear.
        for at in 0..bytes {
            let low = (n >> (7 * at)) as u8 & 0x3f;
            body.push(if at + 1 < bytes { low | 0x80 } else { low });
        }
        body.extend(then);
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    body.push(0x0b);
    let functions = limits::MODULE_BYTES as usize / (body.len() + 64);
    with_functions(vec![(NOTHING, body); functions])
}

const GET0: [u8; 2] = [0x20, 0];
const DROP: u8 = 0x1a;

/// The cases.
pub const CASES: &[Case] = &[
    loaded("a megabyte of blocks", ACCEPTS, || {
        dense(1, &[], &[0x02, 0x40, 0x0b], &[])
    }),
    loaded("a megabyte of loops", ACCEPTS, || {
        dense(1, &[], &[0x03, 0x40, 0x0b], &[])
    }),
    loaded("a megabyte of ifs", ACCEPTS, || {
        dense(1, &[], &[GET0[0], 0, 0x04, 0x40, 0x05, 0x0b], &[])
    }),
    loaded(
        "a megabyte of blocks above 10,000 operands",
        ACCEPTS,
        || {
            dense(
                1,
                &GET0.repeat(10_000),
                &[0x02, 0x40, 0x0b],
                &[DROP].repeat(10_000),
            )
        },
    ),
    loaded(
        "a megabyte of locals kept from being overwritten",
        ACCEPTS,
        || dense(1, &[], &[0x20, 0, 0x20, 0, 0x21, 0, DROP], &[]),
    ),
    loaded(
        "a megabyte of operands kept from 1,024 locals",
        ACCEPTS,
        || {
            let gets: Vec<u8> = (0..1024_u32)
                .flat_map(|n| [&[0x20][..], &leb(n)].concat())
                .collect();
            let sets: Vec<u8> = (0..1024_u32)
                .flat_map(|n| [&[0x21][..], &leb(n)].concat())
                .collect();
            dense(1024, &[], &[gets, sets].concat(), &[])
        },
    ),
    loaded("a megabyte of constants", ACCEPTS, || {
        constants(0x42, 9, &[DROP])
    }),
    loaded("a megabyte of constants in a local", ACCEPTS, || {
        constants(0x41, 4, &[0x21, 0])
    }),
    loaded(
        "a megabyte of blocks with 32 parameters and 16 results",
        ACCEPTS,
        || {
            let fill = [0x20, 0].repeat(16);
            let code = [&fill[..], &[0x02, WIDE], &[DROP].repeat(16), &[0x0b]].concat();
            dense(1, &fill, &code, &[DROP].repeat(16))
        },
    ),
    loaded(
        "a megabyte of ifs with 32 parameters and 16 results",
        ACCEPTS,
        || {
            let fill = [0x20, 0].repeat(16);
            let drops = [DROP].repeat(16);
            let code = [
                &fill[..],
                &[0x20, 0, 0x04, WIDE],
                &drops,
                &[0x05],
                &drops,
                &[0x0b],
            ]
            .concat();
            dense(1, &fill, &code, &drops)
        },
    ),
    loaded("a megabyte of branches with 16 values", ACCEPTS, || {
        // The block has 16 results. Each br_if copies its values.
        let begin = [&[0x02, TO_SIXTEEN][..], &[0x20, 0].repeat(16)].concat();
        let end = [&[0x0b][..], &[DROP].repeat(16)].concat();
        dense(1, &begin, &[0x20, 0, 0x0d, 0], &end)
    }),
    loaded("a megabyte of br_tables with 16 values", ACCEPTS, || {
        let targets = [&[0x0e][..], &leb(limits::BR_TABLE_TARGETS), &[0; 4097]].concat();
        let block = [
            &[0x02, TO_SIXTEEN][..],
            &[0x20, 0].repeat(17),
            &targets,
            &[0x0b],
            &[DROP].repeat(16),
        ];
        dense(1, &[], &block.concat(), &[])
    }),
    loaded("a megabyte of br_tables", ACCEPTS, || {
        let targets = [&[0x0e][..], &leb(limits::BR_TABLE_TARGETS), &[0; 4097]].concat();
        let block = [&[0x02, 0x40][..], &[0x20, 0], &targets, &[0x0b]];
        dense(1, &[], &block.concat(), &[])
    }),
    loaded("a megabyte of calls with 16 results", ACCEPTS, || {
        // Function 1 has that type. It and the other functions that are called come last.
        let mut functions = vec![(
            u32::from(TO_SIXTEEN),
            [&[0][..], &[0x41, 1].repeat(16), &[0x0b]].concat(),
        )];
        functions.push((u32::from(SIXTEEN), vec![0, 0x0b]));
        let code = [0x10, 1, 0x10, 2];
        let times = (limits::FUNCTION_BYTES as usize - 2) / code.len();
        let body = [&[0][..], &code.repeat(times), &[0x0b]].concat();
        functions.extend(vec![(NOTHING, body); 7]);
        with_functions(functions)
    }),
    loaded("a megabyte of code that nothing reaches", ACCEPTS, || {
        dense(1, &[0x00], &[0x6a, 0x1a], &[])
    }),
    loaded("a megabyte of loads", ACCEPTS, || {
        // The offsets take five bytes.
        let code = [0x20, 0, 0x28, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x21, 0];
        let times = (limits::FUNCTION_BYTES as usize - 4) / code.len();
        let body = [&[1, 1, 0x7f][..], &code.repeat(times), &[0x0b]].concat();
        Parts {
            types: types(),
            functions: vec![(NOTHING, body); 7],
            memory: true,
            ..Parts::default()
        }
        .filter()
    }),
    loaded("a megabyte of select", ACCEPTS, || {
        dense(1, &[], &[0x20, 0, 0x20, 0, 0x20, 0, 0x1b, 0x21, 0], &[])
    }),
    loaded("a megabyte of comparisons and branches", ACCEPTS, || {
        let code = [0x02, 0x40, 0x20, 0, 0x45, 0x45, 0x45, 0x0d, 0, 0x0b];
        dense(1, &[], &code, &[])
    }),
    loaded("a megabyte of elements", ACCEPTS, || {
        // 64 passive segments of 4,096 functions each, with the maximum number of bodies.
        let items = [
            &leb(limits::TABLE_ELEMENTS)[..],
            &[0; limits::TABLE_ELEMENTS as usize],
        ]
        .concat();
        let segment = [&[1, 0][..], &items].concat();
        let segments = [
            &leb(limits::ELEMENT_SEGMENTS)[..],
            &segment.repeat(limits::ELEMENT_SEGMENTS as usize),
        ];
        let functions = vec![(NOTHING, vec![0, 0x0b]); limits::FUNCTIONS as usize - 1];
        Parts {
            types: types(),
            functions,
            elements: Some(segments.concat()),
            ..Parts::default()
        }
        .filter()
    }),
    loaded("a megabyte of functions of 1,024 locals", ACCEPTS, || {
        let locals = [&[1][..], &leb(limits::LOCALS), &[0x7e]].concat();
        let nops = [0x01].repeat(240);
        let body = [&locals[..], &nops, &[0x0b]].concat();
        with_functions(vec![(NOTHING, body); limits::FUNCTIONS as usize - 1])
    }),
];
