// SPDX-License-Identifier: GPL-2.0-only
//! Guesses which variables hold the address of a packet byte, in code for packets in place.
//!
//! Compiled code checks every guess.

use alloc::vec;
use alloc::vec::Vec;

use crate::ir::{Binary, BlockId, Function, Op, Outcome, Value, Width};
use crate::{Buffer, Unsupported, Work};

/// Maximum words of the sets of locals, one set for each block.
const MAX_WORDS: usize = 1 << 14;
/// Fixpoint iteration cap.
const MAX_ROUNDS: u32 = 8;

/// A set of variables that are likely to hold an address in the window.
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

    /// Replaces the first `members` members by those of `other`.
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

/// The analysis of a function that is compiled for packets in place.
pub(crate) struct InPlace {
    pub(crate) buffer: Buffer,
    /// For each block, the set of locals that are likely to hold an address in the window on entry.
    pointers: Vec<u64>,
    /// Words of a set.
    words: usize,
}

impl Buffer {
    /// Whether a constant is an address in the window, or the window's end.
    pub(crate) fn has_pointer(&self, value: i64) -> bool {
        let window = i64::from(self.window);
        (window..=window + i64::from(self.snaplen)).contains(&value)
    }
}

impl InPlace {
    /// Analyses a function. `None` if it is too large for that.
    pub(crate) fn new(
        function: &Function,
        buffer: Buffer,
        work: &Work<'_>,
    ) -> Result<Option<Self>, Unsupported> {
        let pointers = pointers(function, buffer, work)?;
        Ok(pointers.map(|pointers| Self {
            buffer,
            pointers,
            words: (function.locals as usize).div_ceil(64),
        }))
    }

    /// The upper limit for computed addresses that are not guessed to be in the window.
    pub(crate) fn limit(&self) -> u64 {
        self.buffer.context.into()
    }

    /// The locals that are likely to hold an address in the window where a block begins.
    pub(crate) fn pointers(&self, block: BlockId) -> &[u64] {
        let start = block as usize * self.words;
        self.pointers.get(start..start + self.words).unwrap_or(&[])
    }
}

/// Whether an operation's result is likely to be an address in the window. `points` tells the same
/// of its operands.
pub(crate) fn leaves_pointer(op: &Op, points: impl Fn(Value) -> bool) -> bool {
    match op.outcome() {
        Outcome::Copy(from) => points(from),
        Outcome::Binary(Binary::Add, Width::W32, a, b) => points(a) || points(b),
        Outcome::Binary(Binary::Sub, Width::W32, a, b) => points(a) && !points(b),
        Outcome::Either(a, b) => points(a) || points(b),
        Outcome::Binary(..)
        | Outcome::Divide(..)
        | Outcome::Truth
        | Outcome::AtMost(_)
        | Outcome::Anything => false,
    }
}

/// Finds the locals that are likely to hold an address in the window at the beginning of each
/// block. The analysis is per block because compilers reuse one local for many values.
fn pointers(
    function: &Function,
    buffer: Buffer,
    work: &Work<'_>,
) -> Result<Option<Vec<u64>>, Unsupported> {
    let blocks = &function.blocks;
    let locals = function.locals as usize;
    let words = locals.div_ceil(64);
    if blocks.len() * words > MAX_WORDS {
        return Ok(None);
    }
    let mut at = vec![0_u64; blocks.len() * words];
    // Blocks whose set changed since the last visit.
    let mut is_due = vec![true; blocks.len()];
    // The set of variables that are not locals. They hold the operand stack, and have one user
    // each.
    let mut stack = Bits::default();
    let mut here = Bits::default();
    for _ in 0..MAX_ROUNDS {
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
            // The reader of a variable may have been visited before.
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
        // The local is a number, then a pointer that a loop moves through the window, then a
        // number.
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
        // Before the loop, in the loop, and after it.
        assert_eq!(
            [0, 1, function.order.len() - 1].map(is_one),
            [false, true, false]
        );
    }
}
