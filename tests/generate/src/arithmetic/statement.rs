// SPDX-License-Identifier: GPL-2.0-only
//! Generates code that leaves the stack unchanged.

use arbitrary::Result;
use wasm_encoder::{BlockType, ValType};
use ValType::{I32, I64};

use super::control::Label;
use super::shape::list;
use super::{Body, COUNTERS, DEPTH};

impl Body<'_, '_, '_> {
    pub(super) fn statements(&mut self, depth: u32) -> Result<()> {
        for _ in 0..self.u.int_in_range(0..=3)? {
            self.statement(depth)?;
        }
        Ok(())
    }

    pub(super) fn statement(&mut self, depth: u32) -> Result<()> {
        if self.left == 0 || depth >= DEPTH {
            return Ok(());
        }
        let statement = match self.pick(20)? {
            // A function that only reads has assignments in place of stores and calls.
            4..=6 | 14 | 20 if self.only_reads => 0,
            statement => statement,
        };
        match statement {
            0..=3 => {
                let ty = if self.pick(1)? == 0 { I32 } else { I64 };
                self.value(ty, depth)?;
                let local = self.local(ty)?;
                self.to.local_set(local);
            }
            4 => {
                let global = self.pick(1)?;
                self.value(if global == 0 { I32 } else { I64 }, depth)?;
                self.to.global_set(global);
            }
            5 | 6 => self.store(depth)?,
            7 => {
                self.value(I32, depth)?;
                self.to.if_(BlockType::Empty);
                self.labels.push(Label::end(&[]));
                self.statements(depth + 1)?;
                if self.pick(1)? == 0 {
                    self.to.else_();
                    self.statements(depth + 1)?;
                }
                self.labels.pop();
                self.to.end();
            }
            8 | 9 if self.loops < COUNTERS => self.rounds(depth)?,
            10 => {
                self.to.block(BlockType::Empty);
                self.labels.push(Label::end(&[]));
                self.statements(depth + 1)?;
                self.labels.pop();
                self.to.end();
            }
            11 => {
                if let Some(label) = self.label()? {
                    self.condition(depth)?;
                    self.to.br_if(label);
                }
            }
            12 | 15 => self.table(depth)?,
            13 => {
                let ty = if self.pick(1)? == 0 { I32 } else { I64 };
                self.value(ty, depth)?;
                self.to.drop();
            }
            14 => self.bulk(depth)?,
            16 => {
                let results = list(self.u, 4)?;
                self.frame(&results, depth)?;
                self.take_off(&results)?;
            }
            17 => self.try_to_leave(depth)?,
            18 => {
                self.condition(depth)?;
                self.to.if_(BlockType::Empty);
                self.labels.push(Label::end(&[]));
                self.leave(depth + 1)?;
                if self.pick(1)? == 0 {
                    self.to.else_();
                    self.statements(depth + 1)?;
                }
                self.labels.pop();
                self.to.end();
            }
            19 => {
                // The rest of the block is unreachable, or there is no rest.
                self.to.block(BlockType::Empty);
                self.labels.push(Label::end(&[]));
                self.try_to_leave(depth + 1)?;
                self.leave(depth + 1)?;
                self.labels.pop();
                self.to.end();
            }
            20 => self.call_any(depth)?,
            _ => {
                let local = self.local(I32)?;
                self.value(I32, depth)?;
                self.to.local_tee(local).drop();
            }
        }
        Ok(())
    }

    /// Calls a function other than the exported one.
    fn call_any(&mut self, depth: u32) -> Result<()> {
        let signatures = &self.shape.signatures;
        let first = (self.index + 1).min(signatures.len() - 1);
        let function = self.u.int_in_range(first..=signatures.len() - 1)?;
        let (params, results) = &signatures[function];
        self.call_of(function as u32, params, depth)?;
        self.take_off(results)
    }

    /// Fills or copies memory, mostly a few bytes.
    fn bulk(&mut self, depth: u32) -> Result<()> {
        self.address(depth)?;
        self.value(I32, depth)?;
        match self.pick(7)? {
            0 => self.value(I32, depth)?,
            1 => {
                let len = self.u.int_in_range(200..=0x1_0000)?;
                self.to.i32_const(len);
            }
            2 => {
                self.value(I32, depth)?;
                self.to.i32_const(0xfff).i32_and();
            }
            _ => {
                self.to.i32_const(self.u.int_in_range(0..=200)?);
            }
        }
        if self.pick(1)? == 0 {
            self.to.memory_fill(0);
        } else {
            self.to.memory_copy(0, 0);
        }
        Ok(())
    }

    fn store(&mut self, depth: u32) -> Result<()> {
        let ty = if self.pick(1)? == 0 { I32 } else { I64 };
        self.address(depth)?;
        self.value(ty, depth)?;
        let place = self.place()?;
        let op = self.pick(3)?;
        let to = &mut self.to;
        match (ty, op) {
            (I64, 0) => to.i64_store8(place),
            (I64, 1) => to.i64_store16(place),
            (I64, 2) => to.i64_store32(place),
            (I64, _) => to.i64_store(place),
            (_, 0) => to.i32_store8(place),
            (_, 1) => to.i32_store16(place),
            (_, _) => to.i32_store(place),
        };
        Ok(())
    }
}
