// SPDX-License-Identifier: GPL-2.0-only
//! Opcodes: the operators that they stand for, the number of their immediates, and their fuel.

use crate::ir::{Access, Binary, Condition, Divide, Unary, Width};

/// The type of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockType {
    Empty,
    /// A result, and no parameters.
    Result,
    /// A function type, by its index.
    Function(u32),
}

/// The targets of a `br_table`: relative depths. The last is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Targets<'a>(pub(super) &'a [u8]);

/// An operator with its immediates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator<'a> {
    // Those without immediates, which `TABLE` has as they are.
    Unreachable,
    Nop,
    Else,
    End,
    Return,
    Drop,
    Select,
    IsZero(Width),
    Compare(Condition, Width),
    Unary(Unary, Width),
    Binary(Binary, Width),
    Divide(Divide, Width),
    /// `i64.extend_i32_u`.
    Extend,
    /// One that only the interpreter supports, and what that is.
    Other(&'static str),
    // The others. `TABLE` has them with any immediates.
    /// A `select` with a type. Whether that is an integer's.
    TypedSelect(bool),
    Block(BlockType),
    Loop(BlockType),
    If(BlockType),
    Branch(u32),
    BranchIf(u32),
    BranchTable(Targets<'a>),
    Call(u32),
    CallIndirect {
        ty: u32,
        table: u32,
    },
    LocalGet(u32),
    LocalSet(u32),
    LocalTee(u32),
    GlobalGet(u32),
    GlobalSet(u32),
    Load(Access, u32),
    /// The number of bytes, and the offset.
    Store(u8, u32),
    MemorySize,
    MemoryGrow,
    MemoryCopy,
    MemoryFill,
    I32Const(u32),
    I64Const(i64),
    /// As `Other`, with this many LEB128 numbers as immediates.
    OtherWithNumbers(&'static str, u8),
    /// As `Other`, with this many bytes as immediates.
    OtherWithBytes(&'static str, u8),
    /// The first byte of an opcode of two.
    Prefix,
}

pub(super) const FLOATS: &str = "floats";
pub(super) const TABLES: &str = "operations on tables";
pub(super) const REFERENCES: &str = "references";
pub(super) const SEGMENTS: &str = "passive data segments";

const fn load(bytes: u8, signed: Option<Width>) -> Operator<'static> {
    Operator::Load(Access { bytes, signed }, 0)
}

/// Fills consecutive rows of the table.
const fn fill<const N: usize>(
    mut table: [Operator<'static>; 256],
    first: usize,
    rows: [Operator<'static>; N],
) -> [Operator<'static>; 256] {
    let mut at = 0;
    while at < N {
        table[first + at] = rows[at];
        at += 1;
    }
    table
}

/// The operators of one width, in the order of their opcodes, from `eqz` on.
const fn comparisons(width: Width) -> [Operator<'static>; 11] {
    use Condition::{Eq, GeS, GeU, GtS, GtU, LeS, LeU, LtS, LtU, Ne};
    use Operator::{Compare, IsZero};
    [
        IsZero(width),
        Compare(Eq, width),
        Compare(Ne, width),
        Compare(LtS, width),
        Compare(LtU, width),
        Compare(GtS, width),
        Compare(GtU, width),
        Compare(LeS, width),
        Compare(LeU, width),
        Compare(GeS, width),
        Compare(GeU, width),
    ]
}

/// The operators of one width, in the order of their opcodes, from `clz` on.
const fn arithmetic(width: Width) -> [Operator<'static>; 18] {
    use Operator as O;
    [
        O::Unary(Unary::Clz, width),
        O::Unary(Unary::Ctz, width),
        O::Unary(Unary::Popcnt, width),
        O::Binary(Binary::Add, width),
        O::Binary(Binary::Sub, width),
        O::Binary(Binary::Mul, width),
        O::Divide(Divide::DivS, width),
        O::Divide(Divide::DivU, width),
        O::Divide(Divide::RemS, width),
        O::Divide(Divide::RemU, width),
        O::Binary(Binary::And, width),
        O::Binary(Binary::Or, width),
        O::Binary(Binary::Xor, width),
        O::Binary(Binary::Shl, width),
        O::Binary(Binary::ShrS, width),
        O::Binary(Binary::ShrU, width),
        O::Binary(Binary::RotL, width),
        O::Binary(Binary::RotR, width),
    ]
}

/// What each opcode stands for. Opcodes that are not valid are floats.
pub(super) static TABLE: [Operator<'static>; 256] = {
    use Operator as O;
    use Width::{W32, W64};
    let table = [O::Other(FLOATS); 256];
    let table = fill(
        table,
        0x00,
        [
            O::Unreachable,
            O::Nop,
            O::Block(BlockType::Empty),
            O::Loop(BlockType::Empty),
            O::If(BlockType::Empty),
            O::Else,
        ],
    );
    let table = fill(
        table,
        0x0b,
        [
            O::End,
            O::Branch(0),
            O::BranchIf(0),
            O::BranchTable(Targets(&[])),
            O::Return,
            O::Call(0),
            O::CallIndirect { ty: 0, table: 0 },
        ],
    );
    let table = fill(table, 0x1a, [O::Drop, O::Select, O::TypedSelect(true)]);
    let table = fill(
        table,
        0x20,
        [
            O::LocalGet(0),
            O::LocalSet(0),
            O::LocalTee(0),
            O::GlobalGet(0),
            O::GlobalSet(0),
            O::OtherWithNumbers(TABLES, 1),
            O::OtherWithNumbers(TABLES, 1),
        ],
    );
    let table = fill(
        table,
        0x28,
        [
            load(4, None),
            load(8, None),
            O::OtherWithNumbers(FLOATS, 2),
            O::OtherWithNumbers(FLOATS, 2),
            load(1, Some(W32)),
            load(1, None),
            load(2, Some(W32)),
            load(2, None),
            load(1, Some(W64)),
            load(1, None),
            load(2, Some(W64)),
            load(2, None),
            load(4, Some(W64)),
            load(4, None),
            O::Store(4, 0),
            O::Store(8, 0),
            O::OtherWithNumbers(FLOATS, 2),
            O::OtherWithNumbers(FLOATS, 2),
            O::Store(1, 0),
            O::Store(2, 0),
            O::Store(1, 0),
            O::Store(2, 0),
            O::Store(4, 0),
            O::MemorySize,
            O::MemoryGrow,
            O::I32Const(0),
            O::I64Const(0),
            O::OtherWithBytes(FLOATS, 4),
            O::OtherWithBytes(FLOATS, 8),
        ],
    );
    let table = fill(table, 0x45, comparisons(W32));
    let table = fill(table, 0x50, comparisons(W64));
    let table = fill(table, 0x67, arithmetic(W32));
    let table = fill(table, 0x79, arithmetic(W64));
    let table = fill(table, 0xa7, [O::Unary(Unary::Wrap, W32)]);
    // An i32 is zero-extended.
    let table = fill(table, 0xac, [O::Unary(Unary::Extend32, W64), O::Extend]);
    let table = fill(
        table,
        0xc0,
        [
            O::Unary(Unary::Extend8, W32),
            O::Unary(Unary::Extend16, W32),
            O::Unary(Unary::Extend8, W64),
            O::Unary(Unary::Extend16, W64),
            O::Unary(Unary::Extend32, W64),
        ],
    );
    let table = fill(
        table,
        0xd0,
        [
            O::OtherWithNumbers(REFERENCES, 1),
            O::Other(REFERENCES),
            O::OtherWithNumbers(REFERENCES, 1),
        ],
    );
    fill(table, 0xfc, [O::Prefix])
};

/// For each opcode: how many LEB128 numbers the immediates are, if nothing else matters for the call
/// graph, or else [`READ`].
pub(super) static NUMBERS: [u8; 256] = {
    use Operator as O;
    let mut numbers = [READ; 256];
    let mut opcode = 0;
    while opcode < 256 {
        numbers[opcode] = match TABLE[opcode] {
            O::Unreachable
            | O::Nop
            | O::Else
            | O::End
            | O::Return
            | O::Drop
            | O::Select
            | O::IsZero(_)
            | O::Compare(..)
            | O::Unary(..)
            | O::Binary(..)
            | O::Divide(..)
            | O::Extend
            | O::Other(_) => 0,
            O::Block(_)
            | O::Loop(_)
            | O::If(_)
            | O::Branch(_)
            | O::BranchIf(_)
            | O::LocalGet(_)
            | O::LocalSet(_)
            | O::LocalTee(_)
            | O::GlobalGet(_)
            | O::GlobalSet(_)
            | O::MemorySize
            | O::MemoryGrow
            | O::I32Const(_)
            | O::I64Const(_) => 1,
            O::Load(..) | O::Store(..) => 2,
            O::OtherWithNumbers(_, numbers) => numbers,
            O::TypedSelect(_)
            | O::BranchTable(_)
            | O::Call(_)
            | O::CallIndirect { .. }
            | O::MemoryCopy
            | O::MemoryFill
            | O::OtherWithBytes(..)
            | O::Prefix => READ,
        };
        opcode += 1;
    }
    numbers
};
pub(super) const READ: u8 = u8::MAX;

/// For each opcode, the fuel of its operator, which is paid when the function, loop or branch of an
/// `if` around it is entered. wasmi's patch has the same costs.
pub(super) static FUEL: [u8; 256] = {
    use Operator as O;
    let mut fuel = [1; 256];
    let mut opcode = 0;
    while opcode < 256 {
        fuel[opcode] = match TABLE[opcode] {
            O::Nop | O::Block(_) | O::Loop(_) | O::Else | O::End | O::Drop => 0,
            O::Call(_) => 6,
            O::CallIndirect { .. } | O::MemoryGrow => 8,
            // `memory.copy` and `memory.fill`. No other operator with a prefix is compiled.
            O::Prefix => 4,
            _ => 1,
        };
        opcode += 1;
    }
    fuel
};
