// SPDX-License-Identifier: GPL-2.0-only
//! Generates large frames, stacks and functions.

use arbitrary::Result;
use wasm_encoder::{BlockType, ValType};
use ValType::{I32, I64};

use super::control::Label;
use super::{Body, COUNTERS};

impl Body<'_, '_, '_> {
    /// Gives each local a different value.
    pub(super) fn fill_locals(&mut self) -> Result<()> {
        let salt = self.u.arbitrary::<i32>()? | 1;
        for local in 0..self.locals.len() as u32 - COUNTERS {
            let factor = salt.wrapping_mul(2 * local as i32 + 1);
            match self.locals[local as usize] {
                I64 => {
                    let factor = i64::from(factor);
                    self.to.global_get(1).i64_const(factor).i64_xor()
                }
                _ => self.to.global_get(0).i32_const(factor).i32_mul(),
            };
            // Parameters keep their arguments.
            if self.shape.signatures[self.index].0.len() as u32 > local {
                self.to.drop();
            } else {
                self.to.local_set(local);
            }
        }
        Ok(())
    }

    /// Reads each local, so that all are live up to here.
    pub(super) fn read_locals(&mut self) {
        for ty in [I32, I64] {
            let all = (0..self.locals.len() as u32 - COUNTERS)
                .filter(|local| self.locals[*local as usize] == ty);
            let mut last = None;
            for local in all {
                self.to.local_get(local);
                if last.replace(local).is_some() {
                    match ty {
                        I64 => self.to.i64_xor(),
                        _ => self.to.i32_xor(),
                    };
                }
            }
            if let Some(last) = last {
                self.to.local_set(last);
            }
        }
    }

    /// Keeps many values on the stack while locals change.
    pub(super) fn deep_stack(&mut self, ty: ValType, depth: u32) -> Result<()> {
        let most = match self.pick(15)? {
            0 if self.shape.has_large_frames => 2_000,
            0 => 150,
            _ => 10,
        };
        let count = self.u.int_in_range(2..=most)?;
        let step = self.u.int_in_range(1..=7)?;
        for at in 0..count {
            match at % step {
                0 => {
                    let local = self.local(ty)?;
                    self.to.local_get(local);
                }
                1 => {
                    let local = self.local(ty)?;
                    match ty {
                        I64 => self.to.global_get(1),
                        _ => self.to.global_get(0),
                    };
                    self.to.local_tee(local);
                }
                2 if at < 20 => self.value(ty, depth + 1)?,
                3 if at < 20 => {
                    self.statement(depth + 1)?;
                    self.value(ty, depth + 1)?;
                }
                _ => {
                    match ty {
                        I64 => self.to.i64_const(i64::from(at) << 30),
                        _ => self.to.i32_const(at),
                    };
                }
            }
        }
        for at in 1..count {
            match (ty, at % 3) {
                (I64, 0) => self.to.i64_xor(),
                (I64, _) => self.to.i64_sub(),
                (_, 0) => self.to.i32_xor(),
                (_, _) => self.to.i32_sub(),
            };
        }
        Ok(())
    }

    /// Code that is longer than the reach of a near jump, in a branch, in a loop, or in a block
    /// that a branch leaves.
    pub(super) fn long_code(&mut self) -> Result<()> {
        let around = self.pick(2)?;
        match around {
            0 => {
                self.condition(0)?;
                self.to.if_(BlockType::Empty);
            }
            1 => {
                self.to.block(BlockType::Empty);
            }
            _ => {
                self.to.loop_(BlockType::Empty);
            }
        }
        self.labels.push(Label::end(&[]));
        if around == 1 {
            self.condition(0)?;
            self.to.br_if(0);
        }
        match self.pick(1)? {
            0 => self.large_tables()?,
            _ => self.many_operations()?,
        }
        self.statements(1)?;
        if around == 2 {
            // Loop again while the local, shifted right, is not 0.
            let local = self.local(I32)?;
            self.to.local_get(local).i32_const(24).i32_shr_u();
            self.to.local_tee(local).br_if(0);
        }
        self.labels.pop();
        self.to.end();
        Ok(())
    }

    /// Large `br_table`s. Neighbouring entries have different targets.
    fn large_tables(&mut self) -> Result<()> {
        for _ in 0..self.u.int_in_range(4..=9)? {
            let ways = self.u.int_in_range(2..=4)?;
            for _ in 0..ways {
                self.to.block(BlockType::Empty);
            }
            self.value(I32, super::DEPTH)?;
            let count = self.u.int_in_range(3_000..=4_000)?;
            self.to.i32_const(count as i32).i32_rem_u();
            self.to.br_table((0..count).map(|at| at % ways), 0);
            for _ in 0..ways {
                self.to.end();
                let local = self.local(I32)?;
                self.to.local_get(local).i32_const(3).i32_mul();
                self.to.local_set(local);
            }
        }
        Ok(())
    }

    /// Operations that each take many instructions.
    fn many_operations(&mut self) -> Result<()> {
        let (a, b) = (self.local(I32)?, self.local(I32)?);
        self.to.local_get(a);
        for at in 0..self.u.int_in_range(2_000..=3_500)? {
            self.to.i32_const(at % 31 + 1).i32_rotr();
            self.to.local_get(b).i32_rotl();
        }
        self.to.local_set(a);
        Ok(())
    }
}
