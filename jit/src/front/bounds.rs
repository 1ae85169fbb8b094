// SPDX-License-Identifier: GPL-2.0-only
//! The most that values can be, by the operations that they come from. No branch is asked, so that it
//! holds under speculation, too.

use super::{Builder, Var};
use crate::form::{Binary, Divide, Op, Value, Width};

const MOST_32: u64 = u32::MAX as u64;

fn most_of(width: Width) -> u64 {
    match width {
        Width::W32 => MOST_32,
        Width::W64 => u64::MAX,
    }
}

/// All ones up to the highest that `most` has.
fn ones(most: u64) -> u64 {
    u64::MAX.checked_shr(most.leading_zeros()).unwrap_or(0)
}

impl Builder<'_, '_> {
    /// The most that a value can be.
    pub(super) fn most(&self, value: Value) -> u64 {
        match value {
            Value::Const(value) => value as u64,
            Value::Var(var) if var < self.function.locals => {
                self.known.bound(var).unwrap_or(u64::MAX)
            }
            Value::Var(var) => self.bounds.get(var as usize).copied().unwrap_or(u64::MAX),
        }
    }

    /// Keeps in mind what the result of an operation can be at most, in place of what was said before.
    pub(super) fn bound(&mut self, var: Var, most: u64) {
        let at = var as usize;
        if self.bounds.len() <= at && most < MOST_32 {
            self.bounds.resize(at + 1, u64::MAX);
        }
        if let Some(bound) = self.bounds.get_mut(at) {
            *bound = most;
        }
    }

    /// The most that an operation can leave.
    pub(super) fn most_after(&self, op: &Op) -> u64 {
        match *op {
            Op::Binary {
                op, width, a, b, ..
            } => {
                let limit = most_of(width);
                let (x, y) = (self.most(a).min(limit), self.most(b).min(limit));
                let most = match (op, b) {
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
                // Beyond, it wraps around.
                most.filter(|most| *most <= limit).unwrap_or(limit)
            }
            Op::Divide {
                op: Divide::RemU,
                width,
                b: Value::Const(by @ 1..),
                ..
            } => (by as u64 - 1).min(most_of(width)),
            // By zero, where that is mispredicted, a quotient may be anything.
            Op::Divide {
                op: Divide::DivU,
                width,
                a,
                b: Value::Const(by @ 1..),
                ..
            } => self.most(a).min(most_of(width)) / by as u64,
            Op::Load { access, .. } if access.signed.is_none() => match access.bytes {
                bytes @ (1 | 2 | 4) => (1 << (8 * bytes)) - 1,
                _ => u64::MAX,
            },
            Op::Compare { .. } => 1,
            Op::Select { a, b, .. } => self.most(a).max(self.most(b)),
            Op::Copy { .. }
            | Op::Divide { .. }
            | Op::Unary { .. }
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
            | Op::Host { .. } => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::form::Op;
    use crate::testing::{build, ops};
    use std::format;

    /// How many accesses are checked.
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
