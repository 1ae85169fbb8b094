// SPDX-License-Identifier: GPL-2.0-only
//! Functions: blocks of operations, and how control passes between them.

use alloc::vec::Vec;

use super::{Compare, Extents, Op, Outcome, Value, Var};
use crate::Reads;

/// A block of a function, by its place in [`Function::blocks`].
pub(crate) type BlockId = u32;

/// How a block ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Jump(BlockId),
    Branch {
        compare: Compare,
        then: BlockId,
        otherwise: BlockId,
    },
    /// To the target with this number, or to the last. Targets may be the same: `blocks` has each once.
    Table {
        index: Value,
        targets: Vec<BlockId>,
        blocks: Vec<BlockId>,
    },
    /// Returns a range of [`Function::values`].
    Return((u32, u32)),
    Trap(nf_wasm_shared::abi::trap::Trap),
}

#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Charged when the block is entered.
    pub(crate) fuel: u32,
    pub(crate) ops: Vec<Op>,
    pub(crate) end: End,
    /// How many loops it is in.
    pub(crate) depth: u32,
}

/// A function's blocks. The first is entered first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Function {
    /// In the module.
    pub(crate) index: u32,
    pub(crate) blocks: Vec<Block>,
    /// The blocks in the order in which they stand in the code.
    pub(crate) order: Vec<BlockId>,
    /// Loops, as ranges of `order`: from the first to behind the last.
    pub(crate) loops: Vec<(u32, u32)>,
    pub(crate) values: Vec<Value>,
    pub(crate) extents: Extents,
    pub(crate) params: u32,
    /// Parameters included.
    pub(crate) locals: u32,
    pub(crate) vars: u32,
    /// Variables besides locals that keep their value from one round of a loop to the next.
    pub(crate) carried: Vec<Var>,
    pub(crate) results: u32,
    /// Whether it calls imported functions.
    pub(crate) calls_host: bool,
    /// It reads nothing in linear memory from this address on.
    pub(crate) reads_below: u64,
    /// Whether it reads a parameter that is not known.
    pub(crate) reads_parameters: bool,
    /// What it reads of a packet in place.
    pub(crate) in_place: Reads,
}

impl Function {
    /// Whether fuel is taken off on entry only.
    pub(crate) fn charges_once(&self) -> bool {
        let charges = |op: &Op| matches!(op, Op::Host { .. });
        let mut ops = self.blocks.iter().flat_map(|block| &block.ops);
        let entry = self.order.first().map_or(0, |it| *it as usize);
        let mut others = self
            .blocks
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != entry);
        !ops.any(charges) && others.all(|(_, block)| block.fuel == 0)
    }

    /// Whether others see anything that it does, besides returning or trapping.
    pub(crate) fn has_effects(&self) -> bool {
        let mut ops = self.blocks.iter().flat_map(|block| &block.ops);
        ops.any(Op::has_effects)
    }

    /// For each variable, whether it can only be 1 or 0, as far as what writes it shows.
    pub(crate) fn truths(&self) -> Vec<bool> {
        let is_constant = |value: Value| matches!(value, Value::Const(0 | 1));
        // A parameter has a value before it is written; other locals begin as 0.
        let mut truths: Vec<bool> = (0..self.vars).map(|var| var >= self.params).collect();
        for op in self.blocks.iter().flat_map(|block| &block.ops) {
            let leaves_truth = match op.outcome() {
                Outcome::Truth => true,
                Outcome::Copy(from) => is_constant(from),
                Outcome::Either(a, b) => is_constant(a) && is_constant(b),
                Outcome::Anything
                | Outcome::AtMost(_)
                | Outcome::Binary(..)
                | Outcome::Divide(..) => false,
            };
            if !leaves_truth {
                let (first, count) = op.writes();
                truths[first as usize..(first + count) as usize].fill(false);
            }
        }
        truths
    }
}

impl End {
    /// Hands `f` each value that is read.
    pub(crate) fn reads(&self, values: &[Value], mut f: impl FnMut(Value)) {
        match self {
            End::Jump(_) | End::Trap(_) => {}
            End::Branch { compare, .. } => {
                f(compare.a);
                f(compare.b);
            }
            End::Table { index, .. } => f(*index),
            End::Return((start, end)) => values[*start as usize..*end as usize]
                .iter()
                .copied()
                .for_each(f),
        }
    }

    /// Hands `f` each block that may follow, at most twice.
    pub(crate) fn successors(&self, mut f: impl FnMut(BlockId)) {
        match self {
            End::Jump(to) => f(*to),
            End::Branch {
                then, otherwise, ..
            } => {
                f(*then);
                f(*otherwise);
            }
            End::Table { blocks, .. } => blocks.iter().copied().for_each(f),
            End::Return(_) | End::Trap(_) => {}
        }
    }
}
