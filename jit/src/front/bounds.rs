// SPDX-License-Identifier: GPL-2.0-only
//! Upper limits of values, derived from the operations that compute them. They do not depend on
//! branches, so they also hold under speculation.

use super::{Builder, Var};
use crate::ir::{Binary, Divide, Op, Outcome, Value, Width};

const MAX_32: u64 = u32::MAX as u64;

fn max_of(width: Width) -> u64 {
    match width {
        Width::W32 => MAX_32,
        Width::W64 => u64::MAX,
    }
}

/// A number with all bits set up to the highest bit that is set in `max`.
pub(super) fn ones(max: u64) -> u64 {
    u64::MAX.checked_shr(max.leading_zeros()).unwrap_or(0)
}

impl Builder<'_, '_> {
    /// The largest value that an operand can have.
    pub(super) fn max(&self, value: Value) -> u64 {
        match value {
            Value::Const(value) => value as u64,
            Value::Var(var) if var < self.function.locals => {
                self.known.bound(var).unwrap_or(u64::MAX)
            }
            Value::Var(var) => self.bounds.get(var as usize).copied().unwrap_or(u64::MAX),
        }
    }

    /// Records the largest value of a variable, in place of an earlier record.
    pub(super) fn bound(&mut self, var: Var, max: u64) {
        let at = var as usize;
        if self.bounds.len() <= at && max < MAX_32 {
            self.bounds.resize(at + 1, u64::MAX);
        }
        if let Some(bound) = self.bounds.get_mut(at) {
            *bound = max;
        }
    }

    /// The largest result of an operation.
    pub(super) fn max_after(&self, op: &Op) -> u64 {
        match op.outcome() {
            Outcome::Binary(op, width, a, b) => {
                let limit = max_of(width);
                let (x, y) = (self.max(a).min(limit), self.max(b).min(limit));
                let max = match (op, b) {
                    (Binary::And, _) => Some(x.min(y)),
                    (Binary::Or | Binary::Xor, _) => Some(ones(x | y)),
                    (Binary::Add, _) => x.checked_add(y),
                    (Binary::Mul, _) => x.checked_mul(y),
                    (Binary::ShrU, Value::Const(by)) => {
                        Some(x >> (by as u32 & (limit.count_ones() - 1)))
                    }
                    (Binary::Shl, Value::Const(by)) => {
                        x.checked_mul(1 << (by as u32 & (limit.count_ones() - 1)))
                    }
                    (Binary::ShrU | Binary::Shl, Value::Var(_))
                    | (Binary::Sub | Binary::ShrS | Binary::RotL | Binary::RotR, _) => None,
                };
                // A larger result wraps around.
                max.filter(|max| *max <= limit).unwrap_or(limit)
            }
            Outcome::Divide(Divide::RemU, width, _, Value::Const(by @ 1..)) => {
                (by as u64 - 1).min(max_of(width))
            }
            Outcome::Divide(Divide::DivU, width, a, Value::Const(by @ 1..)) => {
                self.max(a).min(max_of(width)) / by as u64
            }
            // A quotient by a variable can be anything while the check for zero is mispredicted.
            Outcome::Divide(..) => u64::MAX,
            Outcome::AtMost(max) => max,
            Outcome::Truth => 1,
            Outcome::Either(a, b) => self.max(a).max(self.max(b)),
            Outcome::Copy(_) | Outcome::Anything => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ir::Op;
    use crate::testing::{build, ops};
    use std::format;

    /// Number of checked accesses.
    fn checks(body: &str) -> usize {
        let is_check = |op: &&Op| matches!(op, Op::Check { .. });
        ops(&build(body)).iter().filter(is_check).count()
    }

    #[test]
    fn what_cannot_be_large_is_not_checked() {
        for (index, checked) in [
            ("(local.get 0)", 1),
            ("(i32.and (local.get 0) (i32.const 0xfff0))", 0),
            ("(i32.and (local.get 0) (i32.const 0x1fff0))", 1),
            ("(i32.shl (i32.load8_u (i32.const 0)) (i32.const 2))", 0),
            ("(i32.rem_u (local.get 0) (i32.const 1000))", 0),
            ("(i32.rem_s (local.get 0) (i32.const 1000))", 1),
            ("(i32.load8_s (i32.const 0))", 1),
            ("(i32.div_u (local.get 0) (i32.const 0x10010))", 0),
            ("(i32.div_u (i32.load8_u (i32.const 0)) (local.get 0))", 1),
            // It wraps around.
            (
                "(i32.mul (i32.shr_u (local.get 0) (i32.const 1)) (i32.const 4))",
                1,
            ),
        ] {
            assert_eq!(checks(&format!("(i32.load {index})")), checked, "{index}");
        }
    }

    #[test]
    fn a_mask_that_changes_nothing_is_left_out() {
        let operations = |mask: u32| {
            let byte = "(i32.load8_u (i32.const 0))";
            ops(&build(&format!("(i32.and {byte} (i32.const {mask}))"))).len()
        };
        assert_eq!([255, 511, 127, 256, 510].map(operations), [1, 1, 2, 2, 2]);
    }

    #[test]
    fn what_is_known_of_a_local_ends_where_it_changes() {
        let load = "(drop (i32.load8_u (local.get 3)))";
        let small = "(local.set 3 (i32.load8_u (local.get 0)))";
        let any = "(local.set 3 (local.get 1))";
        assert_eq!(checks(&format!("{small} {load} (i32.const 1)")), 1);
        assert_eq!(
            checks(&format!("{small} {load} {any} {load} (i32.const 1)")),
            2
        );
    }
}
