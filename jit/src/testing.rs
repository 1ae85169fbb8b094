// SPDX-License-Identifier: GPL-2.0-only
//! Small Wasm modules for unit tests.

use alloc::format;
use alloc::vec::Vec;

use crate::ir::{Function, Op};
use crate::module::Module;
use crate::{front, Environment, Results, Work};

/// A module with these functions. `f` is the one with index 0.
pub(crate) fn wasm(fields: &str) -> Vec<u8> {
    wat::parse_str(format!("(module (memory 1) {fields})")).expect("a module")
}

/// A module whose only function is `f`, with three parameters and two more locals.
pub(crate) fn lone(body: &str) -> Vec<u8> {
    wasm(&format!(
        "(func (export \"f\") (param i32 i32 i32) (result i32) (local i32 i32) {body})"
    ))
}

/// A page of memory, and no table.
pub(crate) fn environment() -> Environment<'static> {
    Environment {
        memory_bytes: 65_536,
        memory_grows: false,
        table: &[],
        frame_slots: &[10; 8],
        imports: &[],
        fuel: None,
        max_instructions: 1_000_000,
        parameters: &[],
        results: Results::Stay,
    }
}

/// Work that never aborts.
pub(crate) fn work() -> Work<'static> {
    Work::new(0, &|| true).without_limit()
}

/// Parses a module.
pub(crate) fn parse(wasm: &[u8]) -> Module<'_> {
    Module::parse(wasm, &work()).expect("a module")
}

/// The IR of the function of [`lone`].
pub(crate) fn build(body: &str) -> Function {
    build_in(65_536, body)
}

/// As [`build`], with `memory_bytes` bytes of memory.
pub(crate) fn build_in(memory_bytes: u64, body: &str) -> Function {
    let wasm = lone(body);
    let environment = Environment {
        memory_bytes,
        ..environment()
    };
    front::build(&parse(&wasm), 0, &environment, &[], None, &work()).expect("a function")
}

/// All operations of a function, in the order of the code.
pub(crate) fn ops(function: &Function) -> Vec<Op> {
    let blocks = function.order.iter();
    blocks
        .flat_map(|block| function.blocks[*block as usize].ops.iter().copied())
        .collect()
}
