// SPDX-License-Identifier: GPL-2.0-only
//! Generates numeric expressions.

use std::fmt::Write;

use arbitrary::Result;

use super::{Generator, Operand, BINARY, BINARY_SAFE, COMPARE, DEPTH, EDGES, IMPORTS, UNARY};

impl Generator<'_, '_> {
    pub(super) fn operand(&mut self, operand: Operand) -> Result<()> {
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
    pub(super) fn number(&mut self, depth: u32) -> Result<()> {
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

    /// Calls a host function, if one is imported.
    pub(super) fn import(&mut self, depth: u32) -> Result<()> {
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

    pub(super) fn call(&mut self, text: &str, operands: &[Operand], depth: u32) -> Result<()> {
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

    pub(super) fn numbers(&mut self, text: &str, depth: u32, count: u32) -> Result<()> {
        let _ = write!(self.text, "({text}");
        for _ in 0..count {
            self.put(" ");
            self.number(depth)?;
        }
        self.put(")");
        Ok(())
    }

    /// A number of 64 bits.
    pub(super) fn wide(&mut self, depth: u32) -> Result<()> {
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
