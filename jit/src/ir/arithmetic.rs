// SPDX-License-Identifier: GPL-2.0-only
//! Kinds of arithmetic and comparisons, with the properties of each, and constant folding.

use super::{Calls, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    W32,
    W64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    And,
    Or,
    Xor,
    Shl,
    ShrU,
    ShrS,
    RotL,
    RotR,
}

impl Binary {
    /// Whether the operands may be swapped.
    pub(crate) fn commutes(self) -> bool {
        use Binary::{Add, And, Mul, Or, Xor};
        matches!(self, Add | Mul | And | Or | Xor)
    }

    /// eBPF has no rotation. A rotation by a constant becomes two shifts, one by a variable a
    /// helper call.
    pub(crate) fn calls(self, by: Value) -> Calls {
        let is_rotation = matches!(self, Self::RotL | Self::RotR);
        match by {
            Value::Var(_) if is_rotation => Calls::Helper,
            Value::Var(_) | Value::Const(_) => Calls::Nothing,
        }
    }
}

/// Operations that trap on some operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Divide {
    DivU,
    DivS,
    RemU,
    RemS,
}

impl Divide {
    /// Older versions of eBPF only have unsigned division.
    pub(crate) fn calls(self) -> Calls {
        match self {
            Self::DivS | Self::RemS => Calls::Helper,
            Self::DivU | Self::RemU => Calls::Nothing,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Clz,
    Ctz,
    Popcnt,
    /// Sign-extends the low bits; the result has the operation's width.
    Extend8,
    Extend16,
    Extend32,
    /// Takes the low 32 bits.
    Wrap,
    /// Swaps the low two bytes, and clears the others.
    Swap16,
    /// Reverses the low four bytes, and clears the others.
    Swap32,
}

impl Unary {
    /// eBPF has no instructions that count bits.
    pub(crate) fn calls(self) -> Calls {
        match self {
            Self::Clz | Self::Ctz | Self::Popcnt => Calls::Helper,
            Self::Extend8
            | Self::Extend16
            | Self::Extend32
            | Self::Wrap
            | Self::Swap16
            | Self::Swap32 => Calls::Nothing,
        }
    }

    /// The largest result, if that depends on the operation.
    pub(crate) fn max(self) -> Option<u64> {
        (self == Self::Swap16).then_some(0xffff)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Eq,
    Ne,
    LtU,
    LtS,
    GtU,
    GtS,
    LeU,
    LeS,
    GeU,
    GeS,
}

impl Condition {
    pub(crate) fn inverted(self) -> Self {
        use Condition::{Eq, GeS, GeU, GtS, GtU, LeS, LeU, LtS, LtU, Ne};
        match self {
            Eq => Ne,
            Ne => Eq,
            LtU => GeU,
            GeU => LtU,
            LtS => GeS,
            GeS => LtS,
            GtU => LeU,
            LeU => GtU,
            GtS => LeS,
            LeS => GtS,
        }
    }

    /// The condition for swapped operands.
    pub(crate) fn swapped(self) -> Self {
        use Condition::{Eq, GeS, GeU, GtS, GtU, LeS, LeU, LtS, LtU, Ne};
        match self {
            Eq | Ne => self,
            LtU => GtU,
            GtU => LtU,
            LtS => GtS,
            GtS => LtS,
            LeU => GeU,
            GeU => LeU,
            LeS => GeS,
            GeS => LeS,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compare {
    pub(crate) condition: Condition,
    pub(crate) width: Width,
    pub(crate) a: Value,
    pub(crate) b: Value,
}

/// Truncates a constant to the width. The upper bits become zero.
pub(crate) fn cut(width: Width, value: i64) -> i64 {
    match width {
        Width::W32 => i64::from(value as u32),
        Width::W64 => value,
    }
}

/// The result, if both operands are constants or one of them decides it.
pub(crate) fn fold_binary(op: Binary, width: Width, a: Value, b: Value) -> Option<Value> {
    use Binary::{Add, And, Mul, Or, RotL, RotR, Shl, ShrS, ShrU, Sub, Xor};
    if let (Value::Const(a), Value::Const(b)) = (a, b) {
        return Some(Value::Const(constants(op, width, a, b)));
    }
    match (op, a, b) {
        (Add | Sub | Or | Xor | Shl | ShrU | ShrS | RotL | RotR, a, Value::Const(0))
        | (Add | Or | Xor, Value::Const(0), a)
        | (Mul, a, Value::Const(1))
        | (Mul, Value::Const(1), a) => Some(a),
        (Mul | And, _, Value::Const(0)) | (Mul | And, Value::Const(0), _) => Some(Value::Const(0)),
        _ => None,
    }
}

fn constants(op: Binary, width: Width, a: i64, b: i64) -> i64 {
    let result = match width {
        Width::W32 => {
            let (a, b) = (a as u32, b as u32);
            i64::from(match op {
                Binary::Add => a.wrapping_add(b),
                Binary::Sub => a.wrapping_sub(b),
                Binary::Mul => a.wrapping_mul(b),
                Binary::And => a & b,
                Binary::Or => a | b,
                Binary::Xor => a ^ b,
                Binary::Shl => a.wrapping_shl(b),
                Binary::ShrU => a.wrapping_shr(b),
                Binary::ShrS => (a as i32).wrapping_shr(b) as u32,
                Binary::RotL => a.rotate_left(b & 31),
                Binary::RotR => a.rotate_right(b & 31),
            })
        }
        Width::W64 => {
            let by = b as u32 & 63;
            match op {
                Binary::Add => a.wrapping_add(b),
                Binary::Sub => a.wrapping_sub(b),
                Binary::Mul => a.wrapping_mul(b),
                Binary::And => a & b,
                Binary::Or => a | b,
                Binary::Xor => a ^ b,
                Binary::Shl => a.wrapping_shl(by),
                Binary::ShrU => (a as u64).wrapping_shr(by) as i64,
                Binary::ShrS => a.wrapping_shr(by),
                Binary::RotL => a.rotate_left(by),
                Binary::RotR => a.rotate_right(by),
            }
        }
    };
    cut(width, result)
}

/// The result of an operation on a constant.
pub(crate) fn fold_unary(op: Unary, width: Width, a: i64) -> i64 {
    let result = match (op, width) {
        (Unary::Clz, Width::W32) => i64::from((a as u32).leading_zeros()),
        (Unary::Ctz, Width::W32) => i64::from((a as u32).trailing_zeros()),
        (Unary::Popcnt, Width::W32) => i64::from((a as u32).count_ones()),
        (Unary::Clz, Width::W64) => i64::from(a.leading_zeros()),
        (Unary::Ctz, Width::W64) => i64::from(a.trailing_zeros()),
        (Unary::Popcnt, Width::W64) => i64::from(a.count_ones()),
        (Unary::Extend8, _) => i64::from(a as i8),
        (Unary::Extend16, _) => i64::from(a as i16),
        (Unary::Extend32, _) => i64::from(a as i32),
        (Unary::Wrap, _) => i64::from(a as u32),
        (Unary::Swap16, _) => i64::from((a as u16).swap_bytes()),
        (Unary::Swap32, _) => i64::from((a as u32).swap_bytes()),
    };
    cut(width, result)
}

/// Whether a comparison of constants holds.
pub(crate) fn fold_compare(compare: &Compare) -> Option<bool> {
    let (Value::Const(a), Value::Const(b)) = (compare.a, compare.b) else {
        return None;
    };
    let (signed_a, signed_b) = match compare.width {
        Width::W32 => (i64::from(a as i32), i64::from(b as i32)),
        Width::W64 => (a, b),
    };
    let (a, b) = (a as u64, b as u64);
    Some(match compare.condition {
        Condition::Eq => a == b,
        Condition::Ne => a != b,
        Condition::LtU => a < b,
        Condition::GtU => a > b,
        Condition::LeU => a <= b,
        Condition::GeU => a >= b,
        Condition::LtS => signed_a < signed_b,
        Condition::GtS => signed_a > signed_b,
        Condition::LeS => signed_a <= signed_b,
        Condition::GeS => signed_a >= signed_b,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Value::{Const, Var};
    use Width::{W32, W64};

    #[test]
    fn constants_of_32_bits_have_zeros_above() {
        let fold = |op, a, b| fold_binary(op, W32, Const(a), Const(b));
        assert_eq!(fold(Binary::Sub, 0, 1), Some(Const(0xffff_ffff)));
        assert_eq!(fold(Binary::Shl, 1, 33), Some(Const(2)));
        assert_eq!(
            fold(Binary::ShrS, 0x8000_0000, 31),
            Some(Const(0xffff_ffff))
        );
        assert_eq!(fold(Binary::RotR, 1, 1), Some(Const(0x8000_0000)));
        assert_eq!(fold_unary(Unary::Extend8, W32, 0x80), 0xffff_ff80);
        assert_eq!(fold_unary(Unary::Extend8, W64, 0x80), -0x80);
        assert_eq!(
            fold_binary(Binary::ShrU, W64, Const(-1), Const(65)),
            Some(Const(i64::MAX))
        );
    }

    #[test]
    fn one_constant_may_decide() {
        assert_eq!(
            fold_binary(Binary::And, W32, Var(3), Const(0)),
            Some(Const(0))
        );
        assert_eq!(
            fold_binary(Binary::Mul, W64, Const(1), Var(3)),
            Some(Var(3))
        );
        assert_eq!(fold_binary(Binary::Shl, W32, Const(0), Var(3)), None);
        assert_eq!(fold_binary(Binary::Sub, W32, Const(0), Var(3)), None);
    }

    #[test]
    fn comparisons_know_the_sign_of_their_width() {
        let holds = |condition, width| {
            let (a, b) = (Const(0xffff_ffff), Const(1));
            fold_compare(&Compare {
                condition,
                width,
                a,
                b,
            })
        };
        assert_eq!(holds(Condition::LtS, W32), Some(true));
        assert_eq!(holds(Condition::LtS, W64), Some(false));
        assert_eq!(holds(Condition::LtU, W32), Some(false));
    }
}
