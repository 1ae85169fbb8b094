// SPDX-License-Identifier: GPL-2.0-only
//! Generates code that pushes one value.

use arbitrary::Result;
use wasm_encoder::{BlockType, MemArg, ValType};
use ValType::{I32, I64};

use super::control::Label;
use super::{Body, DEPTH, EDGES, FAR, WIDE_EDGES};

impl Body<'_, '_, '_> {
    fn constant(&mut self, ty: ValType) -> Result<()> {
        let value = match self.pick(3)? {
            0 => self.u.arbitrary()?,
            1 if ty == I64 => *self.u.choose(&WIDE_EDGES)?,
            _ => *self.u.choose(&EDGES)?,
        };
        match ty {
            I64 => self.to.i64_const(value),
            _ => self.to.i32_const(value as i32),
        };
        Ok(())
    }

    pub(super) fn place(&mut self) -> Result<MemArg> {
        // In a module that only reads, large offsets are rarer.
        let rare = if self.only_reads { 63 } else { 15 };
        let offset = match self.pick(rare)? {
            0 => *self.u.choose(&FAR)?,
            1 => self.u.int_in_range(0..=300)?,
            2 => self.u.int_in_range(300..=0x7fff)?,
            3 => self.u.int_in_range(0x7fe0..=0x8010)?,
            _ => self.u.int_in_range(0..=12)?,
        };
        Ok(MemArg {
            offset,
            align: 0,
            memory_index: 0,
        })
    }

    /// An address, mostly within the memory.
    pub(super) fn address(&mut self, depth: u32) -> Result<()> {
        if self.only_reads && self.pick(15)? != 0 {
            return self.pointer(depth);
        }
        match self.pick(10)? {
            0 => self.value(I32, depth),
            8..=10 => self.sum(depth),
            1 | 2 => {
                let end = self.shape.bytes() as i32 + 4;
                self.to.i32_const(self.u.int_in_range(0..=end)?);
                Ok(())
            }
            3 | 4 => {
                self.value(I32, depth)?;
                let mask = *self.u.choose(&[0x1_ffff, 0xffff, 0x7fff, 0xff])?;
                self.to.i32_const(mask).i32_and();
                Ok(())
            }
            _ => {
                let local = self.local(I32)?;
                self.to.local_get(local);
                Ok(())
            }
        }
    }

    /// A local with its bytes reversed by shifts, or almost.
    fn swapped(&mut self) -> Result<()> {
        let local = self.local(I32)?;
        let by = if self.pick(7)? == 0 { 23 } else { 24 };
        if self.pick(1)? == 0 {
            let mask = *self.u.choose(&[0xff, 0xffff, 0xffff, 0x1_0000])?;
            self.to.local_get(local).i32_const(mask).i32_and();
            self.to.local_tee(local).i32_const(8).i32_shl();
            self.to.local_get(local).i32_const(8).i32_shr_u().i32_or();
            self.to.i32_const(0xffff).i32_and();
            return Ok(());
        }
        self.to.local_get(local).i32_const(by).i32_shl();
        self.to.local_get(local).i32_const(0xff00).i32_and();
        self.to.i32_const(8).i32_shl().i32_or();
        self.to.local_get(local).i32_const(8).i32_shr_u();
        self.to.i32_const(0xff00).i32_and();
        self.to.local_get(local).i32_const(24).i32_shr_u();
        self.to.i32_or().i32_or();
        Ok(())
    }

    /// The sum of an address and a constant, often near to another such sum.
    fn sum(&mut self, depth: u32) -> Result<()> {
        if self.pick(3)? == 0 {
            self.value(I32, depth)?;
            self.to.i32_const(0xff).i32_and();
        } else {
            let local = self.local(I32)?;
            self.to.local_get(local);
        }
        let constant = match self.pick(7)? {
            0 => *self.u.choose(&EDGES)? as i32,
            1 => self.u.int_in_range(0..=0x1_ffff)?,
            2 => self.u.int_in_range(4_000..=4_200)?,
            _ => self.u.int_in_range(-8..=20)?,
        };
        self.to.i32_const(constant);
        match self.pick(3)? {
            0 => self.to.i32_sub(),
            _ => self.to.i32_add(),
        };
        if self.pick(2)? == 0 {
            let local = self.local(I32)?;
            self.to.local_tee(local);
        }
        Ok(())
    }

    /// An address, mostly at or after the one in the first or second parameter, if no code has
    /// assigned to it.
    fn pointer(&mut self, depth: u32) -> Result<()> {
        let pointer = self.u.int_in_range(0..=1)?;
        if self.locals[pointer as usize] != I32 {
            return self.value(I32, depth);
        }
        self.to.local_get(pointer);
        match self.pick(15)? {
            0..=3 => {}
            4..=7 => {
                self.to.i32_const(self.u.int_in_range(-4..=50)?).i32_add();
            }
            8 => {
                self.value(I32, depth)?;
                self.to.i32_add();
            }
            _ => {
                self.value(I32, depth)?;
                self.to.i32_const(0x1f).i32_and().i32_add();
                if self.pick(1)? == 0 {
                    let local = self.local(I32)?;
                    self.to.local_tee(local);
                }
            }
        }
        Ok(())
    }

    pub(super) fn value(&mut self, ty: ValType, depth: u32) -> Result<()> {
        if depth >= DEPTH || self.left == 0 {
            return match self.pick(2)? {
                0 => self.constant(ty),
                _ => {
                    let local = self.local(ty)?;
                    self.to.local_get(local);
                    Ok(())
                }
            };
        }
        match self.pick(21)? {
            0 => self.constant(ty),
            21 if ty == I32 => self.swapped(),
            1 | 2 => {
                let local = self.local(ty)?;
                self.to.local_get(local);
                Ok(())
            }
            3..=6 => self.binary(ty, depth + 1),
            7 => self.unary(ty, depth + 1),
            8 => self.comparison(ty, depth + 1),
            9 | 10 => self.load(ty, depth + 1),
            11 => {
                self.to.global_get(if ty == I64 {
                    1
                } else {
                    2 * self.u.int_in_range(0..=1)?
                });
                Ok(())
            }
            12 => {
                self.value(ty, depth + 1)?;
                let local = self.local(ty)?;
                self.to.local_tee(local);
                Ok(())
            }
            13 => {
                self.value(ty, depth + 1)?;
                self.value(ty, depth + 1)?;
                self.value(I32, depth + 1)?;
                self.to.select();
                Ok(())
            }
            14 => {
                self.value(I32, depth + 1)?;
                self.to.if_(BlockType::Result(ty));
                self.labels.push(Label::end(&[ty]));
                self.value(ty, depth + 1)?;
                self.to.else_();
                self.value(ty, depth + 1)?;
                self.labels.pop();
                self.to.end();
                Ok(())
            }
            15 => {
                self.to.block(BlockType::Result(ty));
                self.labels.push(Label::end(&[ty]));
                self.value(ty, depth + 1)?;
                self.value(I32, depth + 1)?;
                self.to.br_if(0);
                self.to.drop();
                self.value(ty, depth + 1)?;
                self.labels.pop();
                self.to.end();
                Ok(())
            }
            16 if self.only_reads => self.load(ty, depth + 1),
            16 => self.call(ty, depth + 1),
            17 | 18 => self.frame(&[ty], depth),
            19 => self.deep_stack(ty, depth),
            _ if ty == I32 => {
                if self.pick(1)? == 0 {
                    self.to.memory_size(0);
                } else {
                    self.value(I32, depth + 1)?;
                    self.to.memory_grow(0);
                }
                Ok(())
            }
            _ => self.constant(ty),
        }
    }

    fn binary(&mut self, ty: ValType, depth: u32) -> Result<()> {
        self.value(ty, depth)?;
        self.value(ty, depth)?;
        let op = self.pick(16)?;
        if (11..=14).contains(&op) && self.pick(3)? != 0 {
            // Make most divisors nonzero.
            match ty {
                I64 => self.to.i64_const(1).i64_or(),
                _ => self.to.i32_const(1).i32_or(),
            };
        }
        let to = &mut self.to;
        match (ty, op) {
            (I64, 0 | 15) => to.i64_add(),
            (I64, 1) => to.i64_sub(),
            (I64, 2) => to.i64_mul(),
            (I64, 3) => to.i64_and(),
            (I64, 4) => to.i64_or(),
            (I64, 5) => to.i64_xor(),
            (I64, 6) => to.i64_shl(),
            (I64, 7) => to.i64_shr_s(),
            (I64, 8) => to.i64_shr_u(),
            (I64, 9) => to.i64_rotl(),
            (I64, 10) => to.i64_rotr(),
            (I64, 11) => to.i64_div_s(),
            (I64, 12) => to.i64_div_u(),
            (I64, 13) => to.i64_rem_s(),
            (I64, 14) => to.i64_rem_u(),
            (I64, _) => to.i64_sub(),
            (_, 0 | 15) => to.i32_add(),
            (_, 1) => to.i32_sub(),
            (_, 2) => to.i32_mul(),
            (_, 3) => to.i32_and(),
            (_, 4) => to.i32_or(),
            (_, 5) => to.i32_xor(),
            (_, 6) => to.i32_shl(),
            (_, 7) => to.i32_shr_s(),
            (_, 8) => to.i32_shr_u(),
            (_, 9) => to.i32_rotl(),
            (_, 10) => to.i32_rotr(),
            (_, 11) => to.i32_div_s(),
            (_, 12) => to.i32_div_u(),
            (_, 13) => to.i32_rem_s(),
            (_, 14) => to.i32_rem_u(),
            (_, _) => to.i32_sub(),
        };
        Ok(())
    }

    fn unary(&mut self, ty: ValType, depth: u32) -> Result<()> {
        let op = self.pick(7)?;
        if ty == I64 && op >= 6 {
            self.value(I32, depth)?;
            if op == 6 {
                self.to.i64_extend_i32_s();
            } else {
                self.to.i64_extend_i32_u();
            }
            return Ok(());
        }
        if ty == I32 && op >= 5 {
            self.value(I64, depth)?;
            self.to.i32_wrap_i64();
            return Ok(());
        }
        self.value(ty, depth)?;
        let to = &mut self.to;
        match (ty, op) {
            (I64, 0) => to.i64_clz(),
            (I64, 1) => to.i64_ctz(),
            (I64, 2) => to.i64_popcnt(),
            (I64, 3) => to.i64_extend8_s(),
            (I64, 4) => to.i64_extend16_s(),
            (I64, _) => to.i64_extend32_s(),
            (_, 0) => to.i32_clz(),
            (_, 1) => to.i32_ctz(),
            (_, 2) => to.i32_popcnt(),
            (_, 3) => to.i32_extend8_s(),
            (_, _) => to.i32_extend16_s(),
        };
        Ok(())
    }

    fn comparison(&mut self, ty: ValType, depth: u32) -> Result<()> {
        let of = if self.pick(1)? == 0 { I32 } else { I64 };
        self.value(of, depth)?;
        let op = self.pick(10)?;
        if op < 10 {
            self.value(of, depth)?;
        }
        let to = &mut self.to;
        match (of, op) {
            (I64, 0) => to.i64_eq(),
            (I64, 1) => to.i64_ne(),
            (I64, 2) => to.i64_lt_s(),
            (I64, 3) => to.i64_lt_u(),
            (I64, 4) => to.i64_gt_s(),
            (I64, 5) => to.i64_gt_u(),
            (I64, 6) => to.i64_le_s(),
            (I64, 7) => to.i64_le_u(),
            (I64, 8) => to.i64_ge_s(),
            (I64, 9) => to.i64_ge_u(),
            (I64, _) => to.i64_eqz(),
            (_, 0) => to.i32_eq(),
            (_, 1) => to.i32_ne(),
            (_, 2) => to.i32_lt_s(),
            (_, 3) => to.i32_lt_u(),
            (_, 4) => to.i32_gt_s(),
            (_, 5) => to.i32_gt_u(),
            (_, 6) => to.i32_le_s(),
            (_, 7) => to.i32_le_u(),
            (_, 8) => to.i32_ge_s(),
            (_, 9) => to.i32_ge_u(),
            (_, _) => to.i32_eqz(),
        };
        if self.pick(3)? == 0 {
            self.to.i32_eqz();
        }
        if ty == I64 {
            self.to.i64_extend_i32_u();
        }
        Ok(())
    }

    fn load(&mut self, ty: ValType, depth: u32) -> Result<()> {
        self.address(depth)?;
        let place = self.place()?;
        let op = self.pick(6)?;
        let to = &mut self.to;
        match (ty, op) {
            (I64, 0) => to.i64_load8_s(place),
            (I64, 1) => to.i64_load8_u(place),
            (I64, 2) => to.i64_load16_s(place),
            (I64, 3) => to.i64_load16_u(place),
            (I64, 4) => to.i64_load32_s(place),
            (I64, 5) => to.i64_load32_u(place),
            (I64, _) => to.i64_load(place),
            (_, 0) => to.i32_load8_s(place),
            (_, 1) => to.i32_load8_u(place),
            (_, 2) => to.i32_load16_s(place),
            (_, 3) => to.i32_load16_u(place),
            (_, _) => to.i32_load(place),
        };
        Ok(())
    }

    /// Calls a function that has a result of this type.
    fn call(&mut self, ty: ValType, depth: u32) -> Result<()> {
        let signatures = &self.shape.signatures;
        let all: Vec<u32> = (0..)
            .zip(signatures)
            .filter(|(_, (_, results))| results.contains(&ty))
            .map(|(function, _)| function)
            .collect();
        // The exported function would call itself too often.
        let mut function = *self.u.choose(&all)?;
        if function == 0 && self.pick(3)? != 0 {
            function = all[all.len() - 1];
        }
        let (params, results) = &signatures[function as usize];
        // Most recursive calls would never return, so guard them with a local that reaches 0.
        let may_recurse = function as usize <= self.index;
        if may_recurse && self.pick(7)? != 0 {
            let local = self.local(I32)?;
            self.to.local_get(local).i32_const(8).i32_shr_u();
            self.to.local_tee(local);
            self.to.if_(BlockType::Result(ty));
            self.labels.push(Label::end(&[ty]));
            self.call_of(function, params, depth)?;
            self.keep_one(ty, results)?;
            self.to.else_();
            self.value(ty, depth)?;
            self.labels.pop();
            self.to.end();
            return Ok(());
        }
        self.call_of(function, params, depth)?;
        self.keep_one(ty, results)
    }

    /// Calls a function, by its index or through the table.
    pub(super) fn call_of(&mut self, function: u32, params: &[ValType], depth: u32) -> Result<()> {
        self.produce(params, depth)?;
        let table = &self.shape.table;
        let place = table.iter().position(|element| *element == Some(function));
        // Seldom call through the table if the function is not in it.
        let most = if place.is_some() { 1 } else { 7 };
        if self.pick(most)? != most {
            self.to.call(function);
            return Ok(());
        }
        match (self.pick(15)?, place) {
            (0, _) => self.value(I32, depth)?,
            (1..=12, Some(place)) => {
                self.to.i32_const(place as i32);
            }
            (13, _) => {
                self.value(I32, depth)?;
                self.to.i32_const(table.len() as i32).i32_rem_u();
            }
            _ => {
                let any = self.u.int_in_range(0..=table.len() as i32)?;
                self.to.i32_const(any);
            }
        }
        self.to.call_indirect(0, function);
        Ok(())
    }

    /// Of a call's results, keeps one of this type.
    fn keep_one(&mut self, ty: ValType, results: &[ValType]) -> Result<()> {
        let at = results.iter().position(|it| *it == ty).unwrap_or(0);
        self.take_off(&results[at + 1..])?;
        if at > 0 {
            let local = self.local(ty)?;
            self.to.local_set(local);
            self.take_off(&results[..at])?;
            self.to.local_get(local);
        }
        Ok(())
    }
}
