// SPDX-License-Identifier: GPL-2.0-only
//! What leaves the stack as it was.

use arbitrary::Result;
use wasm_encoder::{BlockType, ValType};
use ValType::{I32, I64};

use super::{Body, COUNTERS, DEPTH};

impl Body<'_, '_, '_> {
    /// A label that a branch takes nothing to.
    fn label(&mut self) -> Result<Option<u32>> {
        let all: Vec<u32> = self
            .labels
            .iter()
            .rev()
            .enumerate()
            .filter(|(_, taken)| taken.is_empty())
            .map(|(depth, _)| depth as u32)
            .collect();
        if all.is_empty() {
            return Ok(None);
        }
        Ok(Some(*self.u.choose(&all)?))
    }

    fn statements(&mut self, depth: u32) -> Result<()> {
        for _ in 0..self.u.int_in_range(0..=3)? {
            self.statement(depth)?;
        }
        Ok(())
    }

    pub(super) fn statement(&mut self, depth: u32) -> Result<()> {
        if self.left == 0 || depth >= DEPTH {
            return Ok(());
        }
        let statement = match self.pick(15)? {
            // What has effects becomes an assignment.
            4..=6 | 14 if self.only_reads => 0,
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
                self.labels.push(Vec::new());
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
                self.labels.push(Vec::new());
                self.statements(depth + 1)?;
                self.labels.pop();
                self.to.end();
            }
            11 => {
                if let Some(label) = self.label()? {
                    self.value(I32, depth)?;
                    self.to.br_if(label);
                }
            }
            12 => self.table(depth)?,
            13 => match self.pick(3)? {
                0 => {
                    for ty in self.results {
                        self.value(*ty, depth)?;
                    }
                    self.value(I32, depth)?;
                    let function = self.labels.len() as u32 - 1;
                    self.to.br_if(function);
                    for _ in self.results {
                        self.to.drop();
                    }
                }
                1 => {
                    // Nothing behind it can be reached.
                    self.to.block(BlockType::Empty);
                    self.labels.push(Vec::new());
                    self.value(I32, depth)?;
                    self.to.br_if(0);
                    for ty in self.results {
                        self.value(*ty, depth)?;
                    }
                    self.to.return_();
                    self.labels.pop();
                    self.to.end();
                }
                2 => {
                    self.value(I32, depth)?;
                    self.to.if_(BlockType::Empty).unreachable().end();
                }
                _ => {
                    let ty = if self.pick(1)? == 0 { I32 } else { I64 };
                    self.value(ty, depth)?;
                    self.to.drop();
                }
            },
            14 => {
                self.address(depth)?;
                self.value(I32, depth)?;
                self.to.i32_const(self.u.int_in_range(0..=200)?);
                if self.pick(1)? == 0 {
                    self.to.memory_fill(0);
                } else {
                    self.to.memory_copy(0, 0);
                }
            }
            _ => {
                let local = self.local(I32)?;
                self.value(I32, depth)?;
                self.to.local_tee(local).drop();
            }
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

    /// A loop that ends, unless something in it branches to it.
    fn rounds(&mut self, depth: u32) -> Result<()> {
        let counter = self.locals.len() as u32 - COUNTERS + self.loops;
        let rounds = self.u.int_in_range(0..=9)?;
        self.to.i32_const(rounds).local_set(counter);
        self.to.block(BlockType::Empty).loop_(BlockType::Empty);
        self.labels.push(Vec::new());
        self.labels.push(Vec::new());
        self.loops += 1;
        self.to.local_get(counter).i32_eqz().br_if(1);
        self.to
            .local_get(counter)
            .i32_const(1)
            .i32_sub()
            .local_set(counter);
        self.statements(depth + 1)?;
        self.to.br(0);
        self.loops -= 1;
        self.labels.truncate(self.labels.len() - 2);
        self.to.end().end();
        Ok(())
    }

    fn table(&mut self, depth: u32) -> Result<()> {
        self.to.block(BlockType::Empty);
        self.labels.push(Vec::new());
        self.to.block(BlockType::Empty);
        self.labels.push(Vec::new());
        self.value(I32, depth)?;
        let mut targets = Vec::new();
        for _ in 0..self.u.int_in_range(0..=6)? {
            targets.extend(self.label()?);
        }
        let default = self.label()?.unwrap_or(0);
        self.to.br_table(targets, default);
        self.labels.pop();
        self.to.end();
        self.statements(depth + 1)?;
        self.labels.pop();
        self.to.end();
        Ok(())
    }
}
