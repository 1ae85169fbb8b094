// SPDX-License-Identifier: GPL-2.0-only
//! Reads the operators of a valid function body.
//!
//! Every body is read twice: for the call graph, and to build the IR. wasmparser's reader takes
//! about 150 instructions for an operator, because it checks features and frames, and because its
//! operators have destructors. Here the module is already valid, so a table gives what an opcode
//! stands for, and only the immediates are left to read. Bytes that are not valid are an error or
//! other operators, but no more than that.

use wasmparser::FunctionBody;

use crate::ir::{Access, Binary, Condition, Divide, Unary, Width};
use crate::Unsupported;

type Result<T> = core::result::Result<T, Unsupported>;

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
pub(crate) struct Targets<'a>(&'a [u8]);

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

const FLOATS: &str = "floats";
const TABLES: &str = "operations on tables";
const REFERENCES: &str = "references";
const SEGMENTS: &str = "passive data segments";

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
static TABLE: [Operator<'static>; 256] = {
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
static NUMBERS: [u8; 256] = {
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
const READ: u8 = u8::MAX;

/// For each opcode, the fuel of its operator, which is paid when the function, loop or branch of an
/// `if` around it is entered. wasmi's patch has the same costs.
static FUEL: [u8; 256] = {
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

/// The second bytes of opcodes that begin with 0xfc, and are not conversions of floats.
mod second {
    pub(super) const MEMORY_INIT: u32 = 8;
    pub(super) const DATA_DROP: u32 = 9;
    pub(super) const MEMORY_COPY: u32 = 10;
    pub(super) const MEMORY_FILL: u32 = 11;
    pub(super) const TABLE_INIT: u32 = 12;
    pub(super) const ELEM_DROP: u32 = 13;
    pub(super) const TABLE_COPY: u32 = 14;
    pub(super) const TABLE_GROW: u32 = 15;
    pub(super) const TABLE_FILL: u32 = 17;
}

/// The bytes that encode `i32` and `i64` as types.
const INTEGERS: [u8; 2] = [0x7f, 0x7e];
/// The byte of an empty block type.
const EMPTY: u8 = 0x40;

/// The operators of a function body, from the first to the `end` of the function.
pub(crate) struct Operators<'a> {
    left: &'a [u8],
    /// The fuel of the last operator.
    fuel: u8,
}

impl<'a> Operators<'a> {
    pub(crate) fn of(body: &FunctionBody<'a>) -> Result<Self> {
        let mut reader = body.get_binary_reader_for_operators()?;
        let left = reader.read_bytes(reader.bytes_remaining())?;
        Ok(Self { left, fuel: 0 })
    }

    #[inline(always)]
    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.left.split_first().ok_or(Unsupported::Malformed)?;
        self.left = rest;
        Ok(*first)
    }

    fn skip(&mut self, bytes: usize) -> Result<()> {
        self.left = self.left.get(bytes..).ok_or(Unsupported::Malformed)?;
        Ok(())
    }

    /// Reads an unsigned number.
    #[inline(always)]
    fn number(&mut self) -> Result<u32> {
        match self.byte()? {
            byte @ 0..0x80 => Ok(byte.into()),
            byte => Ok(self.rest(byte, false)? as u32),
        }
    }

    /// Reads a signed number.
    #[inline(always)]
    fn signed(&mut self) -> Result<i64> {
        match self.byte()? {
            // Bit 6 is the sign.
            byte @ 0..0x80 => Ok(i64::from((byte << 1) as i8 >> 1)),
            byte => self.rest(byte, true),
        }
    }

    /// Reads the rest of a number of several bytes.
    #[inline(never)]
    fn rest(&mut self, first: u8, is_signed: bool) -> Result<i64> {
        let mut number = i64::from(first & 0x7f);
        for shift in (7..70).step_by(7) {
            let byte = self.byte()?;
            number |= i64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let is_negative = is_signed && byte & 0x40 != 0 && shift < 57;
                return Ok(match is_negative {
                    true => number | i64::MIN >> (56 - shift),
                    false => number,
                });
            }
        }
        Err(Unsupported::Malformed)
    }

    /// The fuel of the last operator.
    pub(crate) fn fuel(&self) -> u32 {
        self.fuel.into()
    }

    /// Skips operators that are no calls. Returns how many.
    pub(crate) fn skip_to_call(&mut self) -> Result<usize> {
        let mut count = 0;
        while let Some((opcode, rest)) = self.left.split_first() {
            let numbers = NUMBERS[usize::from(*opcode)];
            if numbers == READ {
                break;
            }
            self.left = rest;
            for _ in 0..numbers {
                while self.byte()? >= 0x80 {}
            }
            count += 1;
        }
        Ok(count)
    }

    fn block_type(&mut self) -> Result<BlockType> {
        if self.left.first() == Some(&EMPTY) {
            self.skip(1)?;
            return Ok(BlockType::Empty);
        }
        Ok(match self.signed()? {
            index @ 0.. => BlockType::Function(index as u32),
            _ => BlockType::Result,
        })
    }

    fn targets(&mut self) -> Result<Targets<'a>> {
        let len = self.number()?;
        let bytes = self.left;
        for _ in 0..=len {
            self.number()?;
        }
        Ok(Targets(&bytes[..bytes.len() - self.left.len()]))
    }

    /// Reads the flags and the offset of an access to memory.
    #[inline(always)]
    fn offset(&mut self) -> Result<u32> {
        self.number()?;
        self.number()
    }

    #[inline(never)]
    fn typed_select(&mut self) -> Result<Operator<'a>> {
        let types = self.number()?;
        let mut is_integer = true;
        for _ in 0..types {
            is_integer &= INTEGERS.contains(&self.byte()?);
        }
        Ok(Operator::TypedSelect(is_integer))
    }

    #[inline(never)]
    fn prefixed(&mut self) -> Result<Operator<'a>> {
        let (operator, numbers) = match self.number()? {
            second::MEMORY_INIT => (Operator::Other(SEGMENTS), 2),
            second::DATA_DROP => (Operator::Other(SEGMENTS), 1),
            second::MEMORY_COPY => (Operator::MemoryCopy, 2),
            second::MEMORY_FILL => (Operator::MemoryFill, 1),
            second::TABLE_INIT | second::TABLE_COPY => (Operator::Other(TABLES), 2),
            second::ELEM_DROP | second::TABLE_GROW..=second::TABLE_FILL => {
                (Operator::Other(TABLES), 1)
            }
            _ => (Operator::Other(FLOATS), 0),
        };
        for _ in 0..numbers {
            self.number()?;
        }
        Ok(operator)
    }

    /// Whether all were read.
    pub(crate) fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// Reads the next operator. There is one.
    #[inline(always)]
    pub(crate) fn read(&mut self) -> Result<Operator<'a>> {
        use Operator as O;
        let opcode = usize::from(self.byte()?);
        let row = TABLE[opcode];
        self.fuel = FUEL[opcode];
        Ok(match row {
            O::LocalGet(_) => O::LocalGet(self.number()?),
            O::LocalSet(_) => O::LocalSet(self.number()?),
            O::LocalTee(_) => O::LocalTee(self.number()?),
            O::I32Const(_) => O::I32Const(self.signed()? as u32),
            O::I64Const(_) => O::I64Const(self.signed()?),
            O::Load(access, _) => O::Load(access, self.offset()?),
            O::Store(bytes, _) => O::Store(bytes, self.offset()?),
            O::Block(_) => O::Block(self.block_type()?),
            O::Loop(_) => O::Loop(self.block_type()?),
            O::If(_) => O::If(self.block_type()?),
            O::Branch(_) => O::Branch(self.number()?),
            O::BranchIf(_) => O::BranchIf(self.number()?),
            O::BranchTable(_) => O::BranchTable(self.targets()?),
            O::Call(_) => O::Call(self.number()?),
            O::CallIndirect { .. } => O::CallIndirect {
                ty: self.number()?,
                table: self.number()?,
            },
            O::GlobalGet(_) => O::GlobalGet(self.number()?),
            O::GlobalSet(_) => O::GlobalSet(self.number()?),
            O::MemorySize | O::MemoryGrow => {
                self.number()?;
                row
            }
            O::TypedSelect(_) => self.typed_select()?,
            O::OtherWithNumbers(what, numbers) => {
                for _ in 0..numbers {
                    self.number()?;
                }
                O::Other(what)
            }
            O::OtherWithBytes(what, bytes) => {
                self.skip(bytes.into())?;
                O::Other(what)
            }
            O::Prefix => self.prefixed()?,
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
            | O::Other(_)
            | O::MemoryCopy
            | O::MemoryFill => row,
        })
    }
}

impl<'a> Iterator for Operators<'a> {
    type Item = Result<Operator<'a>>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        (!self.left.is_empty()).then(|| self.read())
    }
}

impl Targets<'_> {
    /// Number of targets, without the default.
    pub(crate) fn len(&self) -> usize {
        // The last byte of each depth is less than 128.
        self.0.iter().filter(|byte| **byte < 0x80).count() - 1
    }

    /// The depths, the default last.
    pub(crate) fn depths(&self) -> impl Iterator<Item = Result<u32>> + '_ {
        let mut left = Operators {
            left: self.0,
            fuel: 0,
        };
        core::iter::from_fn(move || (!left.left.is_empty()).then(|| left.number()))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::testing::parse;
    use nf_wasm_generate::random::Random;
    use nf_wasm_generate::{arithmetic, smith, Unstructured};

    /// Compares the ends of operators with wasmparser's, and the operators that call or branch.
    fn compare(wasm: &[u8]) -> usize {
        let mut count = 0;
        for body in &parse(wasm).bodies {
            let mut theirs = body.get_operators_reader().unwrap();
            let mut ours = Operators::of(body).unwrap();
            while let Some(operator) = ours.next() {
                let (operator, expected) = (operator.unwrap(), theirs.read().unwrap());
                let left = theirs.get_binary_reader().bytes_remaining();
                assert_eq!(ours.left.len(), left, "{operator:?} for {expected:?}");
                count += 1;
                use wasmparser::Operator as Theirs;
                let is_same = match &expected {
                    Theirs::Call { function_index } => operator == Operator::Call(*function_index),
                    Theirs::LocalGet { local_index } => {
                        operator == Operator::LocalGet(*local_index)
                    }
                    Theirs::I32Const { value } => operator == Operator::I32Const(*value as u32),
                    Theirs::I64Const { value } => operator == Operator::I64Const(*value),
                    Theirs::BrTable { targets } => {
                        let depths = targets.targets().chain([Ok(targets.default())]);
                        let depths: Vec<u32> = depths.map(|it| it.unwrap()).collect();
                        matches!(operator, Operator::BranchTable(targets)
                            if targets.depths().eq(depths.into_iter().map(Ok)))
                    }
                    Theirs::I64Load16S { memarg } => {
                        let access = Access {
                            bytes: 2,
                            signed: Some(Width::W64),
                        };
                        operator == Operator::Load(access, memarg.offset as u32)
                    }
                    Theirs::I64Store32 { memarg } => {
                        operator == Operator::Store(4, memarg.offset as u32)
                    }
                    Theirs::F32Add => operator == Operator::Other(FLOATS),
                    Theirs::TableGrow { .. } => operator == Operator::Other(TABLES),
                    _ => true,
                };
                assert!(is_same, "{operator:?} for {expected:?}");
            }
            assert!(theirs.eof());
        }
        count
    }

    #[test]
    fn operators_end_where_wasmparser_says() {
        let mut count = 0;
        for number in 0..60 {
            let bytes = Random::new(5, number).bytes(20_000);
            let mut u = Unstructured::new(&bytes);
            let wasm = match number % 2 {
                0 => arithmetic::module(&mut u).map(|module| module.wasm),
                _ => smith::inside(&mut u),
            };
            count += wasm.map_or(0, |wasm| compare(&wasm));
        }
        assert!(count > 10_000, "{count}");
    }

    #[test]
    fn all_opcodes_that_take_immediates() {
        compare(&wat::parse_str(
            "(module (memory 1) (table $t 1 funcref) (type $v (func (param i32 i32) (result i32)))
               (data $d \"x\") (elem $e func $f)
               (global $g (mut i64) (i64.const 0))
               (func $f (export \"f\") (param i32 i32) (result i32) (local i64 f64)
                 (block (block (br_table 0 1 0 (local.get 0))))
                 (drop (block (type $v) (i32.const -64) (i32.const 64) (call $f)))
                 (drop (block (result funcref) (ref.null func)))
                 (drop (ref.is_null (ref.func $f)))
                 (drop (select (result i64) (i64.const -1) (i64.const 64) (i32.const 1)))
                 (drop (select (result funcref) (ref.null func) (ref.func $f) (i32.const 1)))
                 (drop (i64.const 0x7fffffffffffffff)) (drop (i64.const -0x8000000000000000))
                 (drop (i32.const 0x7fffffff)) (drop (i32.const -0x80000000))
                 (drop (f32.const 1)) (local.set 3 (f64.const 1))
                 (f64.store offset=70000 (i32.const 0) (f64.load offset=300 (i32.const 1)))
                 (i64.store32 offset=4294967295 (i32.const 0) (i64.load16_s (i32.const 0)))
                 (memory.init $d (i32.const 0) (i32.const 0) (i32.const 0)) (data.drop $d)
                 (memory.copy (i32.const 0) (i32.const 0) (i32.const 0))
                 (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))
                 (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 0)) (elem.drop $e)
                 (table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 0))
                 (table.fill $t (i32.const 0) (ref.null func) (i32.const 0))
                 (drop (table.grow $t (ref.null func) (i32.const 0))) (drop (table.size $t))
                 (table.set $t (i32.const 0) (table.get $t (i32.const 0)))
                 (drop (i32.trunc_sat_f32_s (f32.const 1)))
                 (drop (memory.grow (memory.size)))
                 (global.set $g (i64.add (global.get $g) (i64.extend_i32_u (i32.const 1))))
                 (drop (i64.extend32_s (i64.const 1)))
                 (call_indirect (type $v) (i32.const 0) (i32.const 1) (i32.const 2))))"
        )
        .unwrap());
    }
}
