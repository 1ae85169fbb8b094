// SPDX-License-Identifier: GPL-2.0-only
//! Generates statements.

use std::fmt::Write;

use arbitrary::Result;

use super::{Generator, Operand, DEPTH};

impl Generator<'_, '_> {
    pub(super) fn statements(&mut self, most: u32) -> Result<()> {
        for _ in 0..self.u.int_in_range(1..=most)? {
            self.put("  ");
            self.statement()?;
            self.put("\n");
        }
        Ok(())
    }

    pub(super) fn statement(&mut self) -> Result<()> {
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

    /// Writes `text`, a number, and a closing parenthesis.
    pub(super) fn wrapped(&mut self, text: &str, operand: Operand) -> Result<()> {
        self.put(text);
        self.operand(operand)?;
        self.put(")");
        Ok(())
    }

    pub(super) fn counted_loop(&mut self) -> Result<()> {
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

    pub(super) fn memory_statement(&mut self) -> Result<()> {
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

    pub(super) fn table_statement(&mut self) -> Result<()> {
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

    pub(super) fn segment(&mut self, count: u32) -> Result<u32> {
        match count {
            0 => Ok(0),
            _ => self.u.int_in_range(0..=count - 1),
        }
    }

    pub(super) fn operation(&mut self, text: &str, operands: &[Operand]) -> Result<()> {
        let _ = write!(self.text, "({text}");
        for &operand in operands {
            self.put(" ");
            self.operand(operand)?;
        }
        self.put(")");
        Ok(())
    }

    pub(super) fn offset(&mut self) -> Result<&'static str> {
        Ok(*self
            .u
            .choose(&["0", "0", "0", "4", "65535", "0xffffffff"])?)
    }
}
