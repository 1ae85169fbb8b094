// SPDX-License-Identifier: GPL-2.0-only
//! Reads the operators of a valid function body.
//!
//! Every body is read twice: for the call graph, and to build the IR. wasmparser's reader takes
//! about 150 instructions for an operator, because it checks features and frames, and because its
//! operators have destructors. Here the module is already valid, so a table gives what an opcode
//! stands for, and only the immediates are left to read. Bytes that are not valid are an error or
//! other operators, but no more than that.

mod opcodes;

use wasmparser::FunctionBody;

use crate::Unsupported;
use opcodes::{FLOATS, FUEL, NUMBERS, READ, SEGMENTS, TABLE, TABLES};

pub(crate) use opcodes::{BlockType, Operator, Targets};

type Result<T> = core::result::Result<T, Unsupported>;

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
                    true => number | (i64::MIN >> (56 - shift)),
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
    use crate::ir::{Access, Width};
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
