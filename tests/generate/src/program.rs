// SPDX-License-Identifier: GPL-2.0-only
//! Filters that do what filters do, at its edges: they call their imports, move memory and tables
//! about, call each other and loop; most of what they touch is there, and some is not.

use std::fmt::Write;

use arbitrary::{Result, Unstructured};

/// Expressions in expressions.
const DEPTH: u32 = 4;

/// Counters of loops.
const LOCALS: &str = " (local $i0 i32) (local $i1 i32)\n";

/// Numbers at edges.
const EDGES: [&str; 20] = [
    "0",
    "1",
    "2",
    "7",
    "8",
    "48",
    "63",
    "64",
    "65",
    "255",
    "256",
    "257",
    "65535",
    "65536",
    "65537",
    "131071",
    "0x7fffffff",
    "0x80000000",
    "-1",
    "-8",
];

/// Two operands and a result of the same type.
const BINARY: [&str; 15] = [
    "add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr", "div_s",
    "div_u", "rem_s", "rem_u",
];
/// The first of these, which cannot trap.
const BINARY_SAFE: usize = 11;
const COMPARE: [&str; 10] = [
    "eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u",
];
const UNARY: [&str; 5] = ["clz", "ctz", "popcnt", "extend8_s", "extend16_s"];

/// What can be imported: module, name, parameters, whether the result has 64 bits.
const IMPORTS: [(&str, &str, &[Operand], bool); 7] = [
    ("nfw.packet", "len", &[], false),
    (
        "nfw.packet",
        "load",
        &[Operand::Small, Operand::Address, Operand::Small],
        false,
    ),
    (
        "nfw.log",
        "write",
        &[Operand::Address, Operand::Small],
        false,
    ),
    ("nfw.mark", "get", &[], false),
    ("nfw.mark", "set", &[Operand::Any], false),
    ("nfw.clock", "monotonic", &[], true),
    ("nfw.clock", "realtime", &[], true),
];
/// How many of these do not tell the time.
const TIMELESS: usize = 5;

/// What a number is used for.
#[derive(Clone, Copy)]
enum Operand {
    Any,
    /// An address, mostly in the memory.
    Address,
    /// A length or an offset, mostly small.
    Small,
}

struct Generator<'a, 'b> {
    u: &'a mut Unstructured<'b>,
    text: String,
    imports: Vec<usize>,
    memory: bool,
    /// Elements of the table, if there is one.
    table: Option<u32>,
    data: u32,
    elements: u32,
    /// Functions that may be called from here: those before this one, so that most programs end.
    helpers: u32,
    /// Loops around this place, each with a counter of its own.
    loops: u32,
}

/// A filter that is valid, as a binary.
///
/// # Errors
///
/// The bytes do not suffice.
///
/// # Panics
///
/// If what was made is not WAT, which is a mistake in here.
pub fn program(u: &mut Unstructured<'_>, clock: bool) -> Result<Vec<u8>> {
    let text = text(u, clock)?;
    Ok(wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

/// The same as text.
///
/// # Errors
///
/// The bytes do not suffice.
pub fn text(u: &mut Unstructured<'_>, clock: bool) -> Result<String> {
    let available = if clock { IMPORTS.len() } else { TIMELESS };
    let mut imports = Vec::new();
    for import in 0..available {
        if u.ratio(2, 3)? {
            imports.push(import);
        }
    }
    let memory = u.ratio(15, 16)?;
    let table = u.ratio(3, 4)?.then_some(u.int_in_range(1..=12)?);
    let mut generator = Generator {
        u,
        text: "(module\n(type $none (func (result i32)))\n(type $one (func (param i32) (result i32)))\n"
            .to_owned(),
        imports,
        memory,
        table,
        data: 0,
        elements: 0,
        helpers: 0,
        loops: 0,
    };
    generator.module()?;
    Ok(generator.text)
}

impl Generator<'_, '_> {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn module(&mut self) -> Result<()> {
        for import in self.imports.clone() {
            let (module, name, params, wide) = IMPORTS[import];
            let params = "i32 ".repeat(params.len());
            let result = if wide { "i64" } else { "i32" };
            let _ = writeln!(
                self.text,
                "(import {module:?} {name:?} (func $import{import} (param {params}) (result {result})))"
            );
        }
        if self.memory {
            let pages = self.u.int_in_range(0..=3)?;
            let most = match self.u.int_in_range(0..=3)? {
                0 => String::new(),
                more => (pages + more - 1).to_string(),
            };
            let _ = writeln!(self.text, "(memory (export \"memory\") {pages} {most})");
            self.data = self.u.int_in_range(0..=3)?;
            for number in 0..self.data {
                // Active ones refuse the load where there is no page.
                let place = if pages > 0 && self.u.ratio(1, 2)? {
                    "(i32.const 1024)"
                } else {
                    ""
                };
                let _ = writeln!(
                    self.text,
                    "(data $d{number} {place} \"{}\")",
                    "data\\ff\\00".repeat(9)
                );
            }
        }
        let helpers = self.u.int_in_range(0..=4)?;
        if let Some(table) = self.table {
            let most = if self.u.ratio(1, 2)? { "20" } else { "" };
            let _ = writeln!(self.text, "(table {table} {most} funcref)");
            self.elements = self.u.int_in_range(0..=3)?;
            for number in 0..self.elements {
                let place = if self.u.ratio(2, 3)? {
                    "(i32.const 0)"
                } else {
                    ""
                };
                let item = match helpers {
                    0 => "(ref.func $filter)".to_owned(),
                    _ => format!(
                        "(ref.func $helper{}) (ref.null func)",
                        self.u.int_in_range(0..=helpers - 1)?
                    ),
                };
                let _ = writeln!(self.text, "(elem $e{number} {place} funcref {item})");
            }
        }
        self.put("(global $a (mut i32) (i32.const 7))\n(global $b (mut i64) (i64.const -7))\n");
        for number in 0..helpers {
            self.helpers = number;
            let signature = if number % 2 == 0 {
                "(param $x i32) (result i32)"
            } else {
                "(result i32) (local $x i32)"
            };
            let _ = write!(self.text, "(func $helper{number} {signature} {LOCALS}");
            self.body(3)?;
            self.put(")\n");
        }
        self.helpers = helpers;
        if self.memory && self.u.ratio(1, 4)? {
            self.put("(func (export \"nfw_buf\") (param $x i32) (result i32)");
            match self.u.int_in_range(0..=7)? {
                0 => self.put("(local.get $x)"),
                1 => self.put("(i32.const 4)"),
                2..=4 => self.put("(drop (memory.grow (i32.const 2))) (i32.const 128)"),
                _ => self.put("(i32.mul (memory.grow (i32.const 2)) (i32.const 65536))"),
            }
            self.put(")\n");
        }
        if self.u.ratio(1, 4)? {
            self.put("(func (export \"nfw_init\") (result i32) (local $x i32)");
            self.put(LOCALS);
            self.statements(3)?;
            let refuses = self.u.ratio(1, 16)?;
            self.put(if refuses {
                "(i32.const 5))\n"
            } else {
                "(i32.const 0))\n"
            });
        }
        self.put(
            "(func $filter (export \"nfw_filter\") (param $ctx i32) (param $x i32) (param $len i32) (result i32)",
        );
        self.put(LOCALS);
        self.body(8)?;
        self.put("))\n");
        Ok(())
    }

    /// Statements, and a result that depends on what they did.
    fn body(&mut self, most: u32) -> Result<()> {
        self.statements(most)?;
        if self.imports.contains(&4) {
            self.put("  (drop (call $import4 (global.get $a)))\n");
        }
        if self.u.ratio(1, 32)? {
            self.put("  (global.get $a)");
        } else {
            self.put("  (i32.and (i32.xor (global.get $a) (i32.wrap_i64 (global.get $b))) (i32.const 1))");
        }
        Ok(())
    }

    fn statements(&mut self, most: u32) -> Result<()> {
        for _ in 0..self.u.int_in_range(1..=most)? {
            self.put("  ");
            self.statement()?;
            self.put("\n");
        }
        Ok(())
    }

    fn statement(&mut self) -> Result<()> {
        match self.u.int_in_range(0..=19_u8)? {
            0..=3 => self.wrapped("(global.set $a ", Operand::Any),
            4 => {
                self.put("(global.set $b ");
                self.wide(DEPTH)?;
                self.put(")");
                Ok(())
            }
            5 => self.wrapped("(local.set $x ", Operand::Any),
            6..=8 if self.memory => self.memory_statement(),
            9..=10 if self.table.is_some() => self.table_statement(),
            11 => {
                self.put("(if ");
                self.number(2)?;
                self.put(" (then ");
                self.statement()?;
                self.put("))");
                Ok(())
            }
            12..=13 if self.loops < 2 => self.counted_loop(),
            14 => {
                self.put("(block (block (block (br_table 2 0 1 2 ");
                self.operand(Operand::Small)?;
                self.put("))) (global.set $a (i32.const 99)))");
                Ok(())
            }
            15 => {
                let rare = match self.u.int_in_range(0..=15_u8)? {
                    0 => "(unreachable)",
                    1 => "(loop $ever (br $ever))",
                    2 => "(return (i32.const 1))",
                    _ => "(nop)",
                };
                self.put(rare);
                Ok(())
            }
            _ => self
                .wrapped("(global.set $a (i32.xor (global.get $a) ", Operand::Any)
                .map(|()| self.put(")")),
        }
    }

    /// `text`, a number, and a bracket.
    fn wrapped(&mut self, text: &str, operand: Operand) -> Result<()> {
        self.put(text);
        self.operand(operand)?;
        self.put(")");
        Ok(())
    }

    fn counted_loop(&mut self) -> Result<()> {
        let counter = self.loops;
        let times = *self.u.choose(&["1", "3", "17", "300", "70000"])?;
        let _ = write!(
            self.text,
            "(local.set $i{counter} (i32.const {times})) (loop $l{counter} "
        );
        self.loops += 1;
        self.statement()?;
        self.loops -= 1;
        let _ = write!(
            self.text,
            "(br_if $l{counter} (local.tee $i{counter} (i32.sub (local.get $i{counter}) (i32.const 1)))))"
        );
        Ok(())
    }

    fn memory_statement(&mut self) -> Result<()> {
        use Operand::{Address, Any, Small};
        let segment = self.segment(self.data)?;
        let (text, operands): (String, &[Operand]) = match self.u.int_in_range(0..=7_u8)? {
            0 => ("memory.fill".to_owned(), &[Address, Any, Small]),
            1 => ("memory.copy".to_owned(), &[Address, Address, Small]),
            2 if self.data > 0 => (format!("memory.init $d{segment}"), &[Address, Small, Small]),
            3 if self.data > 0 => (format!("data.drop $d{segment}"), &[]),
            4 => ("i32.store8".to_owned(), &[Address, Any]),
            5 => ("i32.store16 offset=3".to_owned(), &[Address, Any]),
            _ => (
                format!("i32.store offset={}", self.offset()?),
                &[Address, Any],
            ),
        };
        self.operation(&text, operands)
    }

    fn table_statement(&mut self) -> Result<()> {
        use Operand::Small;
        let segment = self.segment(self.elements)?;
        match self.u.int_in_range(0..=5_u8)? {
            0 if self.elements > 0 => {
                self.operation(&format!("table.init $e{segment}"), &[Small, Small, Small])
            }
            1 if self.elements > 0 => self.operation(&format!("elem.drop $e{segment}"), &[]),
            2 => self.operation("table.copy", &[Small, Small, Small]),
            3 => {
                self.wrapped("(table.fill ", Small)?;
                self.text.pop();
                self.put(" (ref.null func) ");
                self.operand(Small)?;
                self.put(")");
                Ok(())
            }
            _ => {
                self.wrapped("(table.set ", Small)?;
                self.text.pop();
                self.wrapped(" (table.get ", Small)?;
                self.put(")");
                Ok(())
            }
        }
    }

    fn segment(&mut self, count: u32) -> Result<u32> {
        match count {
            0 => Ok(0),
            _ => self.u.int_in_range(0..=count - 1),
        }
    }

    fn operation(&mut self, text: &str, operands: &[Operand]) -> Result<()> {
        let _ = write!(self.text, "({text}");
        for &operand in operands {
            self.put(" ");
            self.operand(operand)?;
        }
        self.put(")");
        Ok(())
    }

    fn offset(&mut self) -> Result<&'static str> {
        Ok(*self
            .u
            .choose(&["0", "0", "0", "4", "65535", "0xffffffff"])?)
    }

    fn operand(&mut self, operand: Operand) -> Result<()> {
        match operand {
            Operand::Any => self.number(DEPTH),
            Operand::Address if self.u.ratio(7, 8)? => {
                self.put("(i32.and (i32.const 0xfff8) ");
                self.number(2)?;
                self.put(")");
                Ok(())
            }
            Operand::Small if self.u.ratio(7, 8)? => {
                let number = self.u.int_in_range(0..=70_u32)?;
                let _ = write!(self.text, "(i32.const {})", number % 11 * number / 7);
                Ok(())
            }
            _ => self.number(2),
        }
    }

    /// A number of 32 bits.
    fn number(&mut self, depth: u32) -> Result<()> {
        let choice = if depth == 0 {
            0
        } else {
            self.u.int_in_range(0..=23_u8)?
        };
        match choice {
            3..=7 => {
                let most = if self.u.ratio(1, 16)? {
                    BINARY.len()
                } else {
                    BINARY_SAFE
                };
                let name = BINARY[self.u.int_in_range(0..=most - 1)?];
                self.numbers(&format!("i32.{name}"), depth - 1, 2)
            }
            8 => {
                let name = *self.u.choose(&COMPARE)?;
                self.numbers(&format!("i32.{name}"), depth - 1, 2)
            }
            9 => {
                let name = *self.u.choose(&UNARY)?;
                self.numbers(&format!("i32.{name}"), depth - 1, 1)
            }
            10 => {
                self.put("(i32.wrap_i64 ");
                self.wide(depth - 1)?;
                self.put(")");
                Ok(())
            }
            11..=12 if self.memory => {
                let load = *self
                    .u
                    .choose(&["i32.load", "i32.load8_u", "i32.load16_s"])?;
                let offset = self.offset()?;
                self.operation(&format!("{load} offset={offset}"), &[Operand::Address])
            }
            13 if self.memory => match self.u.int_in_range(0..=2_u8)? {
                0 => self.operation("memory.grow", &[Operand::Small]),
                _ => self.operation("memory.size", &[]),
            },
            14 if self.table.is_some() => match self.u.int_in_range(0..=2_u8)? {
                0 => self.wrapped("(table.grow (ref.null func) ", Operand::Small),
                1 => self.operation("table.size", &[]),
                _ => {
                    self.wrapped("(ref.is_null (table.get ", Operand::Small)?;
                    self.put(")");
                    Ok(())
                }
            },
            15 if self.helpers > 0 => {
                let helper = self.u.int_in_range(0..=self.helpers - 1)?;
                let operands: &[Operand] = if helper % 2 == 0 {
                    &[Operand::Any]
                } else {
                    &[]
                };
                self.call(&format!("call $helper{helper}"), operands, depth)
            }
            16 if self.table.is_some() => {
                if self.u.ratio(1, 2)? {
                    self.call("call_indirect (type $none)", &[Operand::Small], depth)
                } else {
                    self.call(
                        "call_indirect (type $one)",
                        &[Operand::Any, Operand::Small],
                        depth,
                    )
                }
            }
            17 => {
                self.put("(if (result i32) ");
                self.number(depth - 1)?;
                self.put(" (then ");
                self.number(depth - 1)?;
                self.put(") (else ");
                self.number(depth - 1)?;
                self.put("))");
                Ok(())
            }
            18 => self.numbers("select", depth - 1, 3),
            19.. => self.import(depth),
            1 => {
                self.put("(local.get $x)");
                Ok(())
            }
            2 => {
                self.put("(global.get $a)");
                Ok(())
            }
            _ => {
                let edge = *self.u.choose(&EDGES)?;
                let _ = write!(self.text, "(i32.const {edge})");
                Ok(())
            }
        }
    }

    /// Calls one of the imports, if there is one.
    fn import(&mut self, depth: u32) -> Result<()> {
        if self.imports.is_empty() {
            return self.number(0);
        }
        let import = *self.u.choose(&self.imports)?;
        let (_, _, params, wide) = IMPORTS[import];
        if wide {
            let _ = write!(self.text, "(i32.wrap_i64 (call $import{import}))");
            return Ok(());
        }
        self.call(&format!("call $import{import}"), params, depth)
    }

    fn call(&mut self, text: &str, operands: &[Operand], depth: u32) -> Result<()> {
        let _ = write!(self.text, "({text}");
        for &operand in operands {
            self.put(" ");
            match operand {
                Operand::Any => self.number(depth - 1)?,
                _ => self.operand(operand)?,
            }
        }
        self.put(")");
        Ok(())
    }

    fn numbers(&mut self, text: &str, depth: u32, count: u32) -> Result<()> {
        let _ = write!(self.text, "({text}");
        for _ in 0..count {
            self.put(" ");
            self.number(depth)?;
        }
        self.put(")");
        Ok(())
    }

    /// A number of 64 bits.
    fn wide(&mut self, depth: u32) -> Result<()> {
        let choice = if depth == 0 {
            0
        } else {
            self.u.int_in_range(0..=7_u8)?
        };
        match choice {
            1..=3 => {
                let most = if self.u.ratio(1, 16)? {
                    BINARY.len()
                } else {
                    BINARY_SAFE
                };
                let name = BINARY[self.u.int_in_range(0..=most - 1)?];
                let _ = write!(self.text, "(i64.{name} ");
                self.wide(depth - 1)?;
                self.put(" ");
                self.wide(depth - 1)?;
                self.put(")");
                Ok(())
            }
            4 => {
                self.put("(i64.extend_i32_u ");
                self.number(depth - 1)?;
                self.put(")");
                Ok(())
            }
            5 if self.memory => self.operation("i64.load", &[Operand::Address]),
            6 => {
                self.put("(global.get $b)");
                Ok(())
            }
            _ => {
                let edge = *self.u.choose(&EDGES)?;
                let _ = write!(self.text, "(i64.const {edge})");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn programs_are_valid_text() {
        for index in 0..2_000 {
            let bytes = Random::new(1, index).bytes(2_000);
            let clock = index % 2 == 0;
            program(&mut Unstructured::new(&bytes), clock).expect("enough bytes");
        }
    }
}
