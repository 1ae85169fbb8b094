// SPDX-License-Identifier: GPL-2.0-only
//! Finds the code that converts numbers from network byte order: Wasm has no operator for it.

use super::Builder;
use crate::ir::Binary::{And, Or, Shl, ShrU};
use crate::ir::{Binary, Op, Unary, Value, Var, Width};

/// An operation of 32 bits on a value and a constant: its result, and the value.
fn by_constant(op: &Op, wanted: Binary, constant: i64) -> Option<(Var, Value)> {
    match *op {
        Op::Binary {
            op,
            width: Width::W32,
            to,
            a: a @ Value::Var(_),
            b: Value::Const(b),
        } if op == wanted && b == constant => Some((to, a)),
        _ => None,
    }
}

/// A disjunction of two variables: its result, and the variables.
fn either(op: &Op) -> Option<(Var, [Value; 2])> {
    match *op {
        Op::Binary {
            op: Or,
            width: Width::W32,
            to,
            a,
            b,
        } => Some((to, [a, b])),
        _ => None,
    }
}

/// The number whose low two bytes the operations swap, and their result. `0xffff & result` is the
/// swapped number.
fn swapped_16(ops: &[Op; 3]) -> Option<(Value, Var)> {
    let [x, y, or] = ops;
    let (left, right) = match by_constant(x, Shl, 8) {
        Some(left) => (left, by_constant(y, ShrU, 8)?),
        None => (by_constant(y, Shl, 8)?, by_constant(x, ShrU, 8)?),
    };
    let (result, of) = either(or)?;
    let parts = [Value::Var(left.0), Value::Var(right.0)];
    let is_one = left.1 == right.1 && (of == parts || of == [parts[1], parts[0]]);
    is_one.then_some((left.1, result))
}

/// The number whose bytes the operations reverse, together with `a | b`. This is the order in which
/// LLVM emits them.
fn swapped_32(ops: &[Op; 8], a: Value, b: Value) -> Option<Value> {
    let [first, low, second, upper, third, high, fourth, lower] = ops;
    let (first, number) = by_constant(first, Shl, 24)?;
    let (low, of_low) = by_constant(low, And, 0xff00)?;
    let (second, of_second) = by_constant(second, Shl, 8)?;
    let (upper, of_upper) = either(upper)?;
    let (third, of_third) = by_constant(third, ShrU, 8)?;
    let (high, of_high) = by_constant(high, And, 0xff00)?;
    let (fourth, of_fourth) = by_constant(fourth, ShrU, 24)?;
    let (lower, of_lower) = either(lower)?;
    let is_one = [of_low, of_third, of_fourth] == [number; 3]
        && [of_second, of_high] == [low, third].map(Value::Var)
        && of_upper == [first, second].map(Value::Var)
        && of_lower == [high, fourth].map(Value::Var)
        && [a, b] == [upper, lower].map(Value::Var);
    is_one.then_some(number)
}

impl Builder<'_, '_> {
    /// If the last operations, together with this one of 32 bits, swap the bytes of a number:
    /// removes them, and returns the operation that does the same.
    pub(super) fn swap(&mut self, op: Binary, a: Value, b: Value) -> Option<(Unary, Value)> {
        let (kind, number, count) = match (op, b) {
            (And, Value::Const(0xffff)) => {
                let ops = self.ops().last_chunk::<3>()?;
                let (number, result) = swapped_16(ops)?;
                let is_small = a == Value::Var(result) && self.max(number) <= 0xffff;
                is_small.then_some((Unary::Swap16, number, 3))?
            }
            (Or, _) => {
                let ops = self.ops().last_chunk::<8>()?;
                (Unary::Swap32, swapped_32(ops, a, b)?, 8)
            }
            _ => return None,
        };
        let (locals, ops) = (self.function.locals, self.ops());
        let removed = ops.len() - count;
        // An operand has one user, which is among these operations.
        let are_operands = |op: &Op| op.target().is_some_and(|to| to >= locals);
        if !ops[removed..].iter().all(are_operands) {
            return None;
        }
        ops.truncate(removed);
        Some((kind, number))
    }
}

#[cfg(test)]
mod tests {
    use crate::ir::{Op, Unary};
    use crate::testing::{build, ops};
    use std::format;

    fn swaps(body: &str) -> (usize, Option<Unary>) {
        let ops = ops(&build(body));
        let swap = ops.iter().find_map(|op| match op {
            Op::Unary { op, .. } => Some(*op),
            _ => None,
        });
        (ops.len(), swap)
    }

    #[test]
    fn two_bytes_are_swapped() {
        let swap = |load: &str| {
            swaps(&format!(
                "(local.set 3 ({load} (i32.const 8)))
                 (i32.and
                   (i32.or (i32.shl (local.get 3) (i32.const 8))
                     (i32.shr_u (local.get 3) (i32.const 8)))
                   (i32.const 65535))"
            ))
        };
        assert_eq!(swap("i32.load16_u"), (2, Some(Unary::Swap16)));
        // Its upper half would be shifted into the result.
        assert_eq!(swap("i32.load"), (5, None));
    }

    #[test]
    fn four_bytes_are_swapped() {
        let body = |by: u32| {
            format!(
                "(i32.or
                   (i32.or (i32.shl (local.get 0) (i32.const {by}))
                     (i32.shl (i32.and (local.get 0) (i32.const 65280)) (i32.const 8)))
                   (i32.or (i32.and (i32.shr_u (local.get 0) (i32.const 8)) (i32.const 65280))
                     (i32.shr_u (local.get 0) (i32.const 24))))"
            )
        };
        assert_eq!(swaps(&body(24)), (1, Some(Unary::Swap32)));
        assert_eq!(swaps(&body(23)), (9, None));
    }
}
