// SPDX-License-Identifier: GPL-2.0-only
//! The IR, between Wasm and eBPF: blocks of operations on variables.
//!
//! | file | |
//! |---|---|
//! | `op.rs` | the operations, and the table of all facts about each, `Op::facts` |
//! | `arithmetic.rs` | kinds of arithmetic, their properties, constant folding |
//! | `memory.rs` | accesses, their extents, and masks against speculation |
//! | `function.rs` | blocks, their ends, functions |
//!
//! A variable holds 64 bits. The upper half of one that holds an `i32` is always zero. Wasm's
//! locals are the first variables of a function. Each value of Wasm's operand stack is another
//! variable, or a constant.

mod arithmetic;
mod function;
mod memory;
mod op;

pub(crate) use arithmetic::{
    cut, fold_binary, fold_compare, fold_unary, Binary, Compare, Condition, Divide, Unary, Width,
};
pub(crate) use function::{Block, BlockId, End, Function};
pub(crate) use memory::{Access, Extent, Extents, Mask, Place};
pub(crate) use op::{Callee, Calls, Op, Outcome, Written};

/// A variable of a function.
pub(crate) type Var = u32;

/// An operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Var(Var),
    /// An `i32` is zero-extended.
    Const(i64),
}

impl Value {
    /// The variable, if it is one.
    #[inline]
    pub(crate) fn var(&self) -> Option<Var> {
        match *self {
            Value::Var(var) => Some(var),
            Value::Const(_) => None,
        }
    }
}
