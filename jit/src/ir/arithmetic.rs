// SPDX-License-Identifier: GPL-2.0-only
//! Kinds of arithmetic and comparisons, and the properties of each.

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
    /// Whether the operands may change places.
    pub(crate) fn commutes(self) -> bool {
        use Binary::{Add, And, Mul, Or, Xor};
        matches!(self, Add | Mul | And | Or | Xor)
    }

    /// eBPF has no rotation. By a constant it takes two shifts, by a variable a helper.
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
    /// Older eBPF divides unsigned numbers only.
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
}

impl Unary {
    /// eBPF does not count bits.
    pub(crate) fn calls(self) -> Calls {
        match self {
            Self::Clz | Self::Ctz | Self::Popcnt => Calls::Helper,
            Self::Extend8 | Self::Extend16 | Self::Extend32 | Self::Wrap => Calls::Nothing,
        }
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

    /// The condition for operands that changed places.
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
