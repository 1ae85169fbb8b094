// SPDX-License-Identifier: GPL-2.0-only
//! Filters that only read, on packets where they are.
//!
//! A filter that writes nothing and asks nobody may be run, given up, and run once more: nobody can
//! tell. So it is compiled twice. What [`crate::compile`] makes looks at a copy of the packet, in the
//! window in linear memory. What is made here looks at the packet itself: loads from the window become
//! loads from the packet, and the window is not there. Constant addresses are in the window or are not.
//! Others are guessed to be by how they were computed, and checked: one that is taken for the window's
//! has to be within what there is of the packet in one piece, another below the buffer. Where that does
//! not hold, the code gives up, by a trap that it can have no other way.
//!
//! Fuel is charged as ever: both have the same operators.

use alloc::vec;
use alloc::vec::Vec;

use crate::form::{Binary, Function, Op, Value, Var, Width};
use crate::module::Module;
use crate::{back, front, Buffer, Code, Environment};

/// Wasm's operators of a function at most: of a larger one the copy is not what takes time.
const MOST_OPERATORS: usize = 1 << 12;
/// How often the operations are gone through for pointers: one that is handed on against their order
/// more often is not seen to be one.
const ROUNDS: u32 = 4;

/// How a function is compiled for packets in place.
pub(crate) struct InPlace {
    pub(crate) buffer: Buffer,
    /// For each local whether it is, somewhere, an address in the window.
    pointers: Vec<bool>,
}

impl Buffer {
    /// Whether a constant is an address in the window, or the end of that.
    pub(crate) fn has_pointer(&self, value: i64) -> bool {
        let window = i64::from(self.window);
        (window..=window + i64::from(self.snaplen)).contains(&value)
    }
}

impl InPlace {
    /// Addresses that are computed, and are not taken for the window's, have to be below.
    pub(crate) fn limit(&self) -> u64 {
        self.buffer.context.into()
    }

    pub(crate) fn is_pointer(&self, local: Var) -> bool {
        self.pointers.get(local as usize).copied().unwrap_or(false)
    }
}

/// Compiles the exported function for packets in place, if that is possible.
pub(crate) fn compile(
    module: &Module<'_>,
    export: &str,
    environment: &Environment<'_>,
    buffer: Buffer,
) -> Option<Code> {
    let root = module.exported(export)?;
    let body = module.body(root)?;
    let operators = body.get_operators_reader().ok()?;
    if operators.into_iter().count() > MOST_OPERATORS {
        return None;
    }
    let function = front::build(module, root, environment, environment.parameters, None).ok()?;
    if function.has_effects() {
        return None;
    }
    let in_place = InPlace {
        buffer,
        pointers: pointers(&function, buffer),
    };
    back::compile(module, export, environment, Some(&in_place)).ok()
}

/// Whether an operation leaves an address in the window, where `points` says it of its operands.
pub(crate) fn leaves_pointer(op: &Op, points: impl Fn(Value) -> bool) -> bool {
    match *op {
        Op::Copy { from, .. } => points(from),
        Op::Binary {
            op: Binary::Add,
            width: Width::W32,
            a,
            b,
            ..
        } => points(a) || points(b),
        Op::Binary {
            op: Binary::Sub,
            width: Width::W32,
            a,
            b,
            ..
        } => points(a) && !points(b),
        Op::Select { a, b, .. } => points(a) || points(b),
        _ => false,
    }
}

/// For each local, whether it is somewhere an address in the window.
fn pointers(function: &Function, buffer: Buffer) -> Vec<bool> {
    let mut pointers = vec![false; function.vars as usize];
    for _ in 0..ROUNDS {
        let mut found = false;
        for op in function.blocks.iter().flat_map(|block| &block.ops) {
            let points = |value: Value| match value {
                Value::Const(value) => buffer.has_pointer(value),
                Value::Var(var) => pointers[var as usize],
            };
            let (to, count) = op.writes();
            if count == 1 && !pointers[to as usize] && leaves_pointer(op, points) {
                pointers[to as usize] = true;
                found = true;
            }
        }
        if !found {
            break;
        }
    }
    pointers.truncate(function.locals as usize);
    pointers
}
