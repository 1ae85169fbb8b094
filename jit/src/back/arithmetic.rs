// SPDX-License-Identifier: GPL-2.0-only
//! Arithmetic, and substitutes for operations that eBPF has no instruction for.

use nf_wasm_shared::abi::trap::Trap;

use super::allocation::Location;
use super::function::Emitter;
use super::helper::Helper;
use super::insn::{alu, big_endian, Alu, Jump, Reg, Source, ALU32, ALU64, JMP, JMP32, R0, R1};
use crate::ir::{Binary, Divide, Op, Unary, Value, Var, Width};

fn alu_class(width: Width) -> u8 {
    match width {
        Width::W32 => ALU32,
        Width::W64 => ALU64,
    }
}

fn bits(width: Width) -> i32 {
    match width {
        Width::W32 => 32,
        Width::W64 => 64,
    }
}

impl Emitter<'_, '_> {
    pub(super) fn binary(&mut self, op: Binary, width: Width, to: Var, a: Value, b: Value) {
        if self.location(to) == Location::Nowhere {
            return;
        }
        let instruction = match op {
            Binary::Add => Alu::Add,
            Binary::Sub => Alu::Sub,
            Binary::Mul => Alu::Mul,
            Binary::And => Alu::And,
            Binary::Or => Alu::Or,
            Binary::Xor => Alu::Xor,
            Binary::Shl => Alu::Lsh,
            Binary::ShrU => Alu::Rsh,
            Binary::ShrS => Alu::Arsh,
            Binary::RotL => return self.rotate(true, width, to, a, b),
            Binary::RotR => return self.rotate(false, width, to, a, b),
        };
        let (a, b) = match a {
            Value::Const(_) if op.commutes() => (b, a),
            _ => (a, b),
        };
        let class = alu_class(width);
        let is_shift = matches!(op, Binary::Shl | Binary::ShrU | Binary::ShrS);
        let mut source = match b {
            Value::Const(by) if is_shift => Source::Imm(by as i32 & (bits(width) - 1)),
            _ => self.source(width, b, R1),
        };
        if let (true, Source::Reg(by)) = (is_shift, source) {
            if by != R1 {
                self.alu64(Alu::Mov, R1, Source::Reg(by));
            }
            self.push(alu(ALU32, Alu::And, R1, Source::Imm(bits(width) - 1)));
            source = Source::Reg(R1);
        }
        let target = self.target(to);
        if source == Source::Reg(target) && a != b {
            if op.commutes() {
                let other = self.in_register(a, R1);
                self.push(alu(class, instruction, target, Source::Reg(other)));
            } else {
                let other = if target == R0 { R1 } else { R0 };
                self.set(other, a);
                self.push(alu(class, instruction, other, source));
                self.alu64(Alu::Mov, target, Source::Reg(other));
            }
        } else {
            self.set(target, a);
            self.push(alu(class, instruction, target, source));
        }
        self.done(to);
    }

    fn rotate(&mut self, is_left: bool, width: Width, to: Var, a: Value, b: Value) {
        let Value::Const(by) = b else {
            let helper = match (is_left, width) {
                (true, Width::W32) => Helper::RotL32,
                (true, Width::W64) => Helper::RotL64,
                (false, Width::W32) => Helper::RotR32,
                (false, Width::W64) => Helper::RotR64,
            };
            let op = Op::Binary {
                op: if is_left { Binary::RotL } else { Binary::RotR },
                width,
                to,
                a,
                b,
            };
            return self.compute(&op, helper, to, &[a, b]);
        };
        let (class, bits) = (alu_class(width), bits(width));
        // Mask before the negation, which would overflow for the smallest number.
        let by = by as i32 & (bits - 1);
        let left = match is_left {
            true => by,
            false => (bits - by) & (bits - 1),
        };
        self.set(R1, a);
        self.alu64(Alu::Mov, R0, Source::Reg(R1));
        self.push(alu(class, Alu::Lsh, R0, Source::Imm(left)));
        let right = Source::Imm((bits - left) & (bits - 1));
        self.push(alu(class, Alu::Rsh, R1, right));
        self.push(alu(class, Alu::Or, R0, Source::Reg(R1)));
        let target = self.target(to);
        if target != R0 {
            self.alu64(Alu::Mov, target, Source::Reg(R0));
        }
        self.done(to);
    }

    pub(super) fn divide(&mut self, op: Divide, width: Width, to: Var, a: Value, b: Value) {
        let jump_class = match width {
            Width::W32 => JMP32,
            Width::W64 => JMP,
        };
        let by_zero = self.program.trap(Trap::IntegerDivisionByZero);
        match b {
            Value::Const(0) => {
                self.asm().jump(by_zero);
                return;
            }
            Value::Const(_) => {}
            Value::Var(_) => {
                let divisor = self.in_register(b, R1);
                self.asm()
                    .branch(jump_class, Jump::Eq, divisor, Source::Imm(0), by_zero);
            }
        }
        let is_quotient = match op {
            Divide::DivU | Divide::DivS => true,
            Divide::RemU | Divide::RemS => false,
        };
        match op {
            Divide::DivU | Divide::RemU => {
                if self.location(to) == Location::Nowhere {
                    return;
                }
                let divisor = self.source(width, b, R1);
                // `set` does not sign-extend a constant, as the constant of a 64-bit instruction
                // would be.
                self.set(R0, a);
                let instruction = match is_quotient {
                    true => Alu::Div,
                    false => Alu::Mod,
                };
                self.push(alu(alu_class(width), instruction, R0, divisor));
                let target = self.target(to);
                if target != R0 {
                    self.alu64(Alu::Mov, target, Source::Reg(R0));
                }
                self.done(to);
            }
            Divide::DivS | Divide::RemS => {
                if is_quotient {
                    self.guard_overflow(width, jump_class, a, b);
                }
                let helper = match (is_quotient, width) {
                    (true, Width::W32) => Helper::DivS32,
                    (true, Width::W64) => Helper::DivS64,
                    (false, Width::W32) => Helper::RemS32,
                    (false, Width::W64) => Helper::RemS64,
                };
                let op = Op::Divide {
                    op,
                    width,
                    to,
                    a,
                    b,
                };
                self.compute(&op, helper, to, &[a, b]);
            }
        }
    }

    /// Traps if the smallest number is divided by -1.
    fn guard_overflow(&mut self, width: Width, class: u8, a: Value, b: Value) {
        let least = match width {
            Width::W32 => i64::from(i32::MIN as u32),
            Width::W64 => i64::MIN,
        };
        let minus_one = match width {
            Width::W32 => 0xffff_ffff,
            Width::W64 => -1,
        };
        if matches!(b, Value::Const(b) if b != minus_one) {
            return;
        }
        let overflow = self.program.trap(Trap::IntegerOverflow);
        let well = self.asm().label();
        let divisor = self.in_register(b, R1);
        self.asm()
            .branch(class, Jump::Ne, divisor, Source::Imm(-1), well);
        let dividend = self.in_register(a, R0);
        self.set_constant(R1, least);
        self.asm()
            .branch(class, Jump::Eq, dividend, Source::Reg(R1), overflow);
        self.asm().bind(well);
    }

    pub(super) fn unary(&mut self, op: Unary, width: Width, to: Var, a: Value) {
        if self.location(to) == Location::Nowhere {
            return;
        }
        let helper = match (op, width) {
            (Unary::Clz, Width::W32) => Helper::Clz32,
            (Unary::Clz, Width::W64) => Helper::Clz64,
            (Unary::Ctz, Width::W32) => Helper::Ctz32,
            (Unary::Ctz, Width::W64) => Helper::Ctz64,
            (Unary::Popcnt, Width::W32) => Helper::Popcnt32,
            (Unary::Popcnt, Width::W64) => Helper::Popcnt64,
            (Unary::Wrap, _) => {
                let from = self.in_register(a, R0);
                let target = self.target(to);
                self.push(alu(ALU32, Alu::Mov, target, Source::Reg(from)));
                return self.done(to);
            }
            (Unary::Swap16, _) => return self.swap(to, a, 16),
            (Unary::Swap32, _) => return self.swap(to, a, 32),
            (Unary::Extend8, _) => return self.extend(to, a, width, 8),
            (Unary::Extend16, _) => return self.extend(to, a, width, 16),
            (Unary::Extend32, _) => return self.extend(to, a, width, 32),
        };
        self.compute(&Op::Unary { op, width, to, a }, helper, to, &[a]);
    }

    fn swap(&mut self, to: Var, a: Value, bits: i32) {
        let target = self.target(to);
        self.set(target, a);
        self.push(big_endian(target, bits));
        self.done(to);
    }

    fn extend(&mut self, to: Var, a: Value, width: Width, from: i32) {
        let target = self.target(to);
        self.set(target, a);
        self.extend_register(target, width, from);
        self.done(to);
    }

    pub(super) fn extend_register(&mut self, reg: Reg, width: Width, from: i32) {
        let by = Source::Imm(bits(width) - from);
        self.push(alu(alu_class(width), Alu::Lsh, reg, by));
        self.push(alu(alu_class(width), Alu::Arsh, reg, by));
    }
}
