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

use wasmparser::{FunctionBody, Operator};

use crate::form::{Binary, BlockId, Function, Op, Value, Width};
use crate::module::Module;
use crate::{back, front, Buffer, Code, Environment, Unsupported, Work};

/// Wasm's operators of a function at most, each target of a `br_table` counted: of a larger one the
/// copy is not what takes time.
const MOST_OPERATORS: usize = 1 << 12;
/// Words of the sets of locals at most, one set for each block.
const MOST_WORDS: usize = 1 << 14;
/// How often the blocks are gone through for pointers: one that is handed on against their order more
/// often is not seen to be one.
const ROUNDS: u32 = 8;

/// A set of variables: those that are likely to be an address in the window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn has(&self, member: usize) -> bool {
        let word = self.0.get(member / 64).copied().unwrap_or(0);
        word & (1 << (member % 64)) != 0
    }

    pub(crate) fn set(&mut self, member: usize, is_in: bool) {
        let at = member / 64;
        if is_in && self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        if let Some(word) = self.0.get_mut(at) {
            let bit = 1 << (member % 64);
            *word = if is_in { *word | bit } else { *word & !bit };
        }
    }

    /// Has the first `members` be in it that are in `other`.
    pub(crate) fn copy(&mut self, other: &[u64], members: usize) {
        let words = members.div_ceil(64);
        if self.0.len() < words {
            self.0.resize(words, 0);
        }
        for (word, (to, from)) in self.0[..words].iter_mut().zip(other).enumerate() {
            let more = (word + 1) * 64;
            let mask = u64::MAX >> more.saturating_sub(members);
            *to = *to & !mask | from & mask;
        }
    }
}

/// How a function is compiled for packets in place.
pub(crate) struct InPlace {
    pub(crate) buffer: Buffer,
    /// For each block, the locals that are likely to be an address in the window when it is entered.
    pointers: Vec<u64>,
    /// Words for each block.
    words: usize,
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

    /// The locals that are one where a block begins.
    pub(crate) fn pointers(&self, block: BlockId) -> &[u64] {
        let start = block as usize * self.words;
        self.pointers.get(start..start + self.words).unwrap_or(&[])
    }
}

/// Compiles the exported function for packets in place, if that is possible.
pub(crate) fn compile(
    module: &Module<'_>,
    export: &str,
    environment: &Environment<'_>,
    buffer: Buffer,
    work: &Work<'_>,
) -> Result<Option<Code>, Unsupported> {
    let Some(root) = module.exported(export) else {
        return Ok(None);
    };
    let Some(body) = module.body(root) else {
        return Ok(None);
    };
    if is_large(body, work)? {
        return Ok(None);
    }
    let parameters = environment.parameters;
    let function = front::build(module, root, environment, parameters, None, work)?;
    if function.has_effects() {
        return Ok(None);
    }
    let words = (function.locals as usize).div_ceil(64);
    let Some(pointers) = pointers(&function, buffer, work)? else {
        return Ok(None);
    };
    let in_place = InPlace {
        buffer,
        // Both times the function has the same blocks.
        pointers,
        words,
    };
    back::compile(module, export, environment, Some(&in_place), work).map(Some)
}

/// Whether a function has more than [`MOST_OPERATORS`].
fn is_large(body: &FunctionBody<'_>, work: &Work<'_>) -> Result<bool, Unsupported> {
    let mut operators = 0;
    for operator in body.get_operators_reader()? {
        operators += match operator? {
            Operator::BrTable { targets } => 1 + targets.len() as usize,
            _ => 1,
        };
        work.take(1)?;
        if operators > MOST_OPERATORS {
            return Ok(true);
        }
    }
    Ok(false)
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
fn pointers(
    function: &Function,
    buffer: Buffer,
    work: &Work<'_>,
) -> Result<Option<Vec<u64>>, Unsupported> {
    let blocks = &function.blocks;
    let locals = function.locals as usize;
    let words = locals.div_ceil(64);
    if blocks.len() * words > MOST_WORDS {
        return Ok(None);
    }
    let mut at = vec![0_u64; blocks.len() * words];
    // Those that change since they were last looked at.
    let mut is_due = vec![true; blocks.len()];
    // Of what is on the operand stack, which is handed on in variables of one use.
    let mut stack = Bits::default();
    let mut here = Bits::default();
    for _ in 0..ROUNDS {
        let (mut has_changed, mut has_grown) = (false, false);
        for block in function.order.iter().map(|it| *it as usize) {
            work.take(1)?;
            if !core::mem::take(&mut is_due[block]) {
                continue;
            }
            here.copy(&at[block * words..][..words], locals);
            let block = &blocks[block];
            work.take(words + block.ops.len())?;
            for op in &block.ops {
                let points = |value: Value| match value {
                    Value::Const(value) => buffer.has_pointer(value),
                    Value::Var(var) if (var as usize) < locals => here.has(var as usize),
                    Value::Var(var) => stack.has(var as usize),
                };
                let (to, count) = op.writes();
                let points = count == 1 && leaves_pointer(op, points);
                for var in (to..to + count).map(|it| it as usize) {
                    if var < locals {
                        here.set(var, points);
                    } else if points && !stack.has(var) {
                        stack.set(var, true);
                        has_grown = true;
                    }
                }
            }
            let mut edges = 0;
            block.end.successors(|next| {
                edges += 1;
                let there = &mut at[next as usize * words..][..words];
                for (there, here) in there.iter_mut().zip(&here.0) {
                    if *here & !*there != 0 {
                        *there |= *here;
                        is_due[next as usize] = true;
                        has_changed = true;
                    }
                }
            });
            work.take(edges * words)?;
        }
        if has_grown {
            // Who reads it may have been looked at before.
            is_due.fill(true);
        } else if !has_changed {
            break;
        }
    }
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{build, work};

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
        let pointers = pointers(&function, buffer, &work()).unwrap().unwrap();
        // Five locals, a word for each block.
        let is_one = |at: usize| pointers[function.order[at] as usize] & (1 << 3) != 0;
        // In the function, in the loop, and behind it.
        assert_eq!(
            [0, 1, function.order.len() - 1].map(is_one),
            [false, true, false]
        );
    }
}
