// SPDX-License-Identifier: GPL-2.0-only
//! Functions: blocks of operations, and the control flow between them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::slice;

use super::{Compare, Extents, Op, Outcome, Value, Var};
use crate::Reads;

/// A block's index in [`Function::blocks`].
pub(crate) type BlockId = u32;

/// The end of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Jump(BlockId),
    Branch {
        compare: Compare,
        then: BlockId,
        otherwise: BlockId,
    },
    /// Jumps to the target with this index, or to the last. `targets` may repeat blocks. `blocks`
    /// has each once.
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
    /// Number of loops around it.
    pub(crate) depth: u32,
}

/// A function's blocks. The first is entered first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Function {
    /// The function's index in the module.
    pub(crate) index: u32,
    pub(crate) blocks: Vec<Block>,
    /// The blocks, in the order of the code.
    pub(crate) order: Vec<BlockId>,
    /// Loops, as ranges of `order`. The end is exclusive.
    pub(crate) loops: Vec<(u32, u32)>,
    pub(crate) values: Vec<Value>,
    pub(crate) extents: Extents,
    pub(crate) params: u32,
    /// Parameters included.
    pub(crate) locals: u32,
    pub(crate) vars: u32,
    /// Variables, other than locals, that keep their value from one round of a loop to the next.
    pub(crate) carried: Vec<Var>,
    pub(crate) results: u32,
    /// Whether it calls host functions.
    pub(crate) calls_host: bool,
    /// All its reads from linear memory are below this address.
    pub(crate) reads_below: u64,
    /// Addresses of packets, and the bytes that are taken off them, and added to the offsets of
    /// their loads: these are for an access before the base. They may change until the function is
    /// built.
    pub(crate) lowered: BTreeMap<Var, i16>,
    /// Bytes behind linear memory that it may access while a check is mispredicted.
    pub(crate) guard: u32,
    /// Whether it reads a parameter whose value is not known.
    pub(crate) reads_parameters: bool,
    /// Its reads of a packet in place.
    pub(crate) in_place: Reads,
    /// Empty lists of operations, for new blocks.
    pub(crate) spare: Vec<Vec<Op>>,
}

/// Maximum operations of [`Function::spare`], counted by capacity. It bounds the memory that one
/// function leaves to the next.
const MAX_SPARE: usize = 1 << 12;

impl Function {
    /// Bytes that are taken off an address.
    pub(crate) fn lowered(&self, address: Var) -> i16 {
        self.lowered.get(&address).copied().unwrap_or(0)
    }

    /// An empty function with the memory of this one. Most modules have many functions, and memory
    /// of the kernel is expensive: it is zeroed, and accounted for.
    pub(crate) fn emptied(mut self) -> Self {
        let mut room = MAX_SPARE;
        // The ones that no block took come last, and the first block's first, since it pops them.
        let used = self.blocks.drain(..).rev().map(|block| block.ops);
        self.spare.extend(used);
        self.spare.retain_mut(|ops| {
            ops.clear();
            let left = room.checked_sub(ops.capacity().max(1));
            room = left.unwrap_or(0);
            left.is_some()
        });
        self.order.clear();
        self.loops.clear();
        self.values.clear();
        self.extents.clear();
        self.carried.clear();
        Self {
            blocks: self.blocks,
            order: self.order,
            loops: self.loops,
            values: self.values,
            extents: self.extents,
            carried: self.carried,
            spare: self.spare,
            ..Self::default()
        }
    }

    /// Whether only the first block charges fuel.
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

    /// Whether it has effects besides returning or trapping.
    pub(crate) fn has_effects(&self) -> bool {
        let mut ops = self.blocks.iter().flat_map(|block| &block.ops);
        ops.any(Op::has_effects)
    }

    /// For each variable, whether the operations that write it only leave 1 or 0.
    pub(crate) fn truths(&self) -> Vec<bool> {
        let is_constant = |value: Value| matches!(value, Value::Const(0 | 1));
        // A parameter can have any value on entry. Other locals begin as 0.
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
    /// Passes each variable that it reads to `f`.
    pub(crate) fn reads(&self, values: &[Value], f: impl FnMut(Var)) {
        let compared;
        let read = match self {
            End::Jump(_) | End::Trap(_) => &[][..],
            End::Branch { compare, .. } => {
                compared = [compare.a, compare.b];
                &compared
            }
            End::Table { index, .. } => slice::from_ref(index),
            End::Return((start, end)) => &values[*start as usize..*end as usize],
        };
        read.iter().filter_map(Value::var).for_each(f);
    }

    /// Replaces each variable that it reads by what `f` returns for it, except for those in
    /// [`Function::values`], whose range this returns.
    pub(crate) fn rename_reads(&mut self, f: impl Fn(Var) -> Var) -> (u32, u32) {
        let value = |value: &mut Value| {
            if let Value::Var(var) = value {
                *var = f(*var);
            }
        };
        match self {
            End::Jump(_) | End::Trap(_) => {}
            End::Branch { compare, .. } => {
                value(&mut compare.a);
                value(&mut compare.b);
            }
            End::Table { index, .. } => value(index),
            End::Return(values) => return *values,
        }
        (0, 0)
    }

    /// Passes each successor to `f`, at most twice.
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
