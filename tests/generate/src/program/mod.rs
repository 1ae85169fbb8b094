// SPDX-License-Identifier: GPL-2.0-only
//! Filters that resemble real ones, with values at the edges: their functions call host functions
//! and each other, copy memory and tables, and loop. Most of their accesses are in bounds.

mod number;
mod statement;

use std::fmt::Write;

use arbitrary::{Result, Unstructured};

/// Maximum nesting of expressions.
const DEPTH: u32 = 4;

/// The counters of loops.
const LOCALS: &str = " (local $i0 i32) (local $i1 i32)\n";

/// Numbers at the edges.
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

/// Binary operators whose operands and result have the same type.
const BINARY: [&str; 15] = [
    "add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr", "div_s",
    "div_u", "rem_s", "rem_u",
];
/// How many of [`BINARY`], from the first, cannot trap.
const BINARY_SAFE: usize = 11;
const COMPARE: [&str; 10] = [
    "eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u",
];
const UNARY: [&str; 5] = ["clz", "ctz", "popcnt", "extend8_s", "extend16_s"];

/// The host functions: module, name, parameters, whether the result has 64 bits.
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
/// How many of [`IMPORTS`], from the first, do not read the clock.
const TIMELESS: usize = 5;

/// The purpose of a number.
#[derive(Clone, Copy)]
enum Operand {
    Any,
    /// An address, mostly in bounds.
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
    /// How many functions may be called here: those before this one. Most programs end.
    helpers: u32,
    /// How many loops enclose this place. Each has its own counter.
    loops: u32,
}

/// Makes a valid filter, as a binary.
///
/// # Errors
///
/// The bytes do not suffice.
///
/// # Panics
///
/// If the generated text is not valid WAT: a bug in this generator.
pub fn program(u: &mut Unstructured<'_>, clock: bool) -> Result<Vec<u8>> {
    let text = text(u, clock)?;
    Ok(wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

/// Makes a valid filter, as text.
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
                // An active segment out of bounds would make the load fail.
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

    /// Statements, and a result that depends on their effects.
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
