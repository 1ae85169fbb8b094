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

use crate::form::{Binary, BlockId, Function, Op, Value, Width};
use crate::module::Module;
use crate::{back, front, Buffer, Code, Environment};

/// Wasm's operators of a function at most: of a larger one the copy is not what takes time.
const MOST_OPERATORS: usize = 1 << 12;
/// Locals of a function times its blocks, at most.
const MOST_STATES: usize = 1 << 18;
/// How often the blocks are gone through for pointers: one that is handed on against their order more
/// often is not seen to be one.
const ROUNDS: u32 = 8;

/// For each local, whether it is likely to be an address in the window.
pub(crate) type Locals = Vec<bool>;

/// How a function is compiled for packets in place.
pub(crate) struct InPlace {
    pub(crate) buffer: Buffer,
    /// For each block, what its locals are when it is entered.
    pointers: Vec<Locals>,
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

    /// What locals are where a block begins.
    pub(crate) fn pointers(&self, block: BlockId) -> &[bool] {
        self.pointers.get(block as usize).map_or(&[], Vec::as_slice)
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
        // Both times the function has the same blocks.
        pointers: pointers(&function, buffer)?,
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
        Op::Binary { .. }
        | Op::Divide { .. }
        | Op::Unary { .. }
        | Op::Compare { .. }
        | Op::Check { .. }
        | Op::Trap(_)
        | Op::Address { .. }
        | Op::Packet { .. }
        | Op::PacketAddress { .. }
        | Op::Load { .. }
        | Op::Store { .. }
        | Op::GlobalGet { .. }
        | Op::GlobalSet { .. }
        | Op::Call { .. }
        | Op::CallIndirect { .. }
        | Op::Host { .. } => false,
    }
}

/// Finds out, for the beginning of each block, which locals are likely to be addresses in the window.
/// Compilers give one local many values, one after the other, so it takes the way of each.
fn pointers(function: &Function, buffer: Buffer) -> Option<Vec<Locals>> {
    let blocks = &function.blocks;
    let locals = function.locals as usize;
    if blocks.len() * locals > MOST_STATES {
        return None;
    }
    let mut at: Vec<Locals> = vec![vec![false; locals]; blocks.len()];
    // Of what is on the operand stack, which is handed on in variables of one use.
    let mut stack = vec![false; function.vars as usize];
    for _ in 0..ROUNDS {
        let mut has_changed = false;
        for block in &function.order {
            let mut here = at[*block as usize].clone();
            let block = &blocks[*block as usize];
            for op in &block.ops {
                let points = |value: Value| match value {
                    Value::Const(value) => buffer.has_pointer(value),
                    Value::Var(var) => {
                        here.get(var as usize).unwrap_or(&stack[var as usize]) == &true
                    }
                };
                let (to, count) = op.writes();
                let points = count == 1 && leaves_pointer(op, points);
                for var in to..to + count {
                    match here.get_mut(var as usize) {
                        Some(local) => *local = points,
                        None => stack[var as usize] |= points,
                    }
                }
            }
            block.end.successors(|next| {
                for (there, here) in at[next as usize].iter_mut().zip(&here) {
                    has_changed |= *here && !*there;
                    *there |= *here;
                }
            });
        }
        if !has_changed {
            break;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::build;

    #[test]
    fn a_local_is_a_pointer_as_long_as_it_holds_one() {
        let buffer = Buffer {
            context: 1_000,
            window: 1_048,
            snaplen: 256,
        };
        // The local begins as a number, moves along in the window in a loop, and is a number then.
        let function = build(
            "(block (loop
               (br_if 1 (i32.eqz (local.get 3)))
               (local.set 3 (i32.add (local.get 0) (i32.const 1050)))
               (br 0)))
             (local.set 3 (i32.mul (local.get 0) (i32.const 2)))
             (if (local.get 3) (then (nop)))
             (local.get 3)",
        );
        let pointers = pointers(&function, buffer).unwrap();
        let is_one = |at: usize| pointers[function.order[at] as usize][3];
        // In the function, in the loop, and behind it.
        assert_eq!(
            [0, 1, function.order.len() - 1].map(is_one),
            [false, true, false]
        );
    }
}
