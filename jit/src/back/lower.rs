// SPDX-License-Identifier: GPL-2.0-only
//! Each operation, and its instructions.

use nf_wasm_abi::trap::Trap;

use super::allocation::{clobbers, Home};
use super::function::Emitter;
use super::insn::{
    alu, constant, load, store, Alu, Jump, Reg, Size, Source, ALU32, ALU64, JMP, JMP32, R0, R1, R2,
    R3, R4, R5, R7, R8, R9,
};
use super::HEADER;
use crate::form::{
    Access, Binary, Callee, Compare, Condition, Divide, Op, Place, Unary, Value, Var, Width,
};
use crate::helper::Helper;
use crate::Machine;
use core::mem::offset_of;

/// The instruction of an operation that has one.
fn instruction(op: Binary) -> Option<Alu> {
    Some(match op {
        Binary::Add => Alu::Add,
        Binary::Sub => Alu::Sub,
        Binary::Mul => Alu::Mul,
        Binary::And => Alu::And,
        Binary::Or => Alu::Or,
        Binary::Xor => Alu::Xor,
        Binary::Shl => Alu::Lsh,
        Binary::ShrU => Alu::Rsh,
        Binary::ShrS => Alu::Arsh,
        Binary::RotL | Binary::RotR => return None,
    })
}

fn jump(condition: Condition) -> Jump {
    match condition {
        Condition::Eq => Jump::Eq,
        Condition::Ne => Jump::Ne,
        Condition::LtU => Jump::Lt,
        Condition::LtS => Jump::Slt,
        Condition::GtU => Jump::Gt,
        Condition::GtS => Jump::Sgt,
        Condition::LeU => Jump::Le,
        Condition::LeS => Jump::Sle,
        Condition::GeU => Jump::Ge,
        Condition::GeS => Jump::Sge,
    }
}

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

fn size(bytes: u8) -> Size {
    match bytes {
        1 => Size::B1,
        2 => Size::B2,
        4 => Size::B4,
        _ => Size::B8,
    }
}

/// As an instruction's constant, if it can be one.
fn immediate(width: Width, value: i64) -> Option<i32> {
    match width {
        Width::W32 => Some(value as i32),
        Width::W64 => i32::try_from(value).ok(),
    }
}

impl Emitter<'_, '_> {
    pub(super) fn op(&mut self, op: &Op) {
        match *op {
            Op::Copy { to, from } => self.copy(to, from),
            Op::Binary {
                op,
                width,
                to,
                a,
                b,
            } => self.binary(op, width, to, a, b),
            Op::Divide {
                op,
                width,
                to,
                a,
                b,
            } => self.divide(op, width, to, a, b),
            Op::Unary { op, width, to, a } => self.unary(op, width, to, a),
            Op::Compare { to, compare } => {
                self.select(to, &compare, Value::Const(1), Value::Const(0));
            }
            Op::Select { to, compare, a, b } => self.select(to, &compare, a, b),
            Op::Check { base, extent } => self.check(base, extent),
            Op::Trap(trap) => {
                let label = self.program.trap(trap);
                self.asm().jump(label);
            }
            Op::Address {
                to,
                base,
                offset,
                extent,
                is_bounded,
            } => self.address(to, base, offset, extent, is_bounded),
            Op::Load { to, access, place } => self.load(to, access, place),
            Op::Store { from, bytes, place } => self.store(from, bytes, place),
            Op::GlobalGet { to, global } => self.global_get(to, global),
            Op::GlobalSet { global, from } => self.global_set(global, from),
            Op::Call {
                function,
                arguments,
                to,
                results,
            } => self.call(function, arguments, to, results),
            Op::CallIndirect {
                signature,
                index,
                arguments,
                to,
                results,
            } => self.call_indirect(signature, index, arguments, to, results),
            Op::Host {
                callee,
                arguments,
                to,
            } => self.host(op, callee, arguments, to),
        }
    }

    pub(super) fn home(&self, var: Var) -> Home {
        self.allocation.homes[var as usize]
    }

    pub(super) fn push(&mut self, insn: super::insn::Insn) {
        self.asm().push(insn);
    }

    pub(super) fn alu64(&mut self, op: Alu, reg: Reg, source: Source) {
        self.push(alu(ALU64, op, reg, source));
    }

    pub(super) fn slot_offset(slot: u32) -> i16 {
        // Frames that are larger are refused.
        (HEADER + slot * 8) as i16
    }

    pub(super) fn load_slot(&mut self, reg: Reg, slot: u32) {
        self.push(load(Size::B8, reg, R9, Self::slot_offset(slot)));
    }

    pub(super) fn store_slot(&mut self, slot: u32, reg: Reg) {
        let source = Source::Reg(reg);
        self.push(store(Size::B8, R9, Self::slot_offset(slot), source));
    }

    fn set_constant(&mut self, reg: Reg, value: i64) {
        if u32::try_from(value).is_ok() {
            self.push(alu(ALU32, Alu::Mov, reg, Source::Imm(value as i32)));
        } else if let Ok(imm) = i32::try_from(value) {
            self.alu64(Alu::Mov, reg, Source::Imm(imm));
        } else {
            for half in constant(reg, value as u64) {
                self.push(half);
            }
        }
    }

    /// Has a value in `reg`.
    pub(super) fn set(&mut self, reg: Reg, value: Value) {
        match value {
            Value::Const(value) => self.set_constant(reg, value),
            Value::Var(var) => match self.home(var) {
                Home::Reg(home) if home == reg => {}
                Home::Reg(home) => self.alu64(Alu::Mov, reg, Source::Reg(home)),
                Home::Slot(slot) => self.load_slot(reg, slot),
                // Nobody reads it, but here: it was never written.
                Home::Nowhere => self.set_constant(reg, 0),
            },
        }
    }

    /// The register that a value is in, `scratch` if it has none.
    pub(super) fn in_register(&mut self, value: Value, scratch: Reg) -> Reg {
        if let Value::Var(var) = value {
            if let Home::Reg(reg) = self.home(var) {
                return reg;
            }
        }
        self.set(scratch, value);
        scratch
    }

    /// The same, or a constant.
    fn source(&mut self, width: Width, value: Value, scratch: Reg) -> Source {
        if let Value::Const(value) = value {
            if let Some(imm) = immediate(width, value) {
                return Source::Imm(imm);
            }
        }
        Source::Reg(self.in_register(value, scratch))
    }

    /// The register that a result is to be in, before [`Self::done`].
    pub(super) fn target(&self, to: Var) -> Reg {
        match self.home(to) {
            Home::Reg(reg) => reg,
            Home::Slot(_) | Home::Nowhere => R0,
        }
    }

    /// A result is in its register.
    pub(super) fn done(&mut self, to: Var) {
        if let Home::Slot(slot) = self.home(to) {
            self.store_slot(slot, R0);
        }
    }

    fn copy(&mut self, to: Var, from: Value) {
        if self.home(to) == Home::Nowhere {
            return;
        }
        let target = self.target(to);
        self.set(target, from);
        self.done(to);
    }

    fn binary(&mut self, op: Binary, width: Width, to: Var, a: Value, b: Value) {
        if self.home(to) == Home::Nowhere {
            return;
        }
        let Some(instruction) = instruction(op) else {
            return self.rotate(op, width, to, a, b);
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
                self.set(R0, a);
                self.push(alu(class, instruction, R0, source));
                self.alu64(Alu::Mov, target, Source::Reg(R0));
            }
        } else {
            self.set(target, a);
            self.push(alu(class, instruction, target, source));
        }
        self.done(to);
    }

    fn rotate(&mut self, op: Binary, width: Width, to: Var, a: Value, b: Value) {
        let Value::Const(by) = b else {
            let helper = match (op, width) {
                (Binary::RotL, Width::W32) => Helper::RotL32,
                (Binary::RotL, Width::W64) => Helper::RotL64,
                (_, Width::W32) => Helper::RotR32,
                (_, Width::W64) => Helper::RotR64,
            };
            let op = Op::Binary {
                op,
                width,
                to,
                a,
                b,
            };
            return self.compute(&op, helper, to, &[a, b]);
        };
        let (class, bits) = (alu_class(width), bits(width));
        let left = match op {
            Binary::RotL => by as i32 & (bits - 1),
            _ => -(by as i32) & (bits - 1),
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

    fn divide(&mut self, op: Divide, width: Width, to: Var, a: Value, b: Value) {
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
        match op {
            Divide::DivU | Divide::RemU => {
                if self.home(to) == Home::Nowhere {
                    return;
                }
                let divisor = self.source(width, b, R1);
                // Not sign-extended as 64 bits are.
                self.set(R0, a);
                let instruction = match op {
                    Divide::DivU => Alu::Div,
                    _ => Alu::Mod,
                };
                self.push(alu(alu_class(width), instruction, R0, divisor));
                let target = self.target(to);
                if target != R0 {
                    self.alu64(Alu::Mov, target, Source::Reg(R0));
                }
                self.done(to);
            }
            Divide::DivS | Divide::RemS => {
                if op == Divide::DivS {
                    self.guard_overflow(width, jump_class, a, b);
                }
                let helper = match (op, width) {
                    (Divide::DivS, Width::W32) => Helper::DivS32,
                    (Divide::DivS, Width::W64) => Helper::DivS64,
                    (_, Width::W32) => Helper::RemS32,
                    (_, Width::W64) => Helper::RemS64,
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

    /// Traps where the smallest number is divided by -1.
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

    fn unary(&mut self, op: Unary, width: Width, to: Var, a: Value) {
        if self.home(to) == Home::Nowhere {
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
            (Unary::Extend8, _) => return self.extend(to, a, width, 8),
            (Unary::Extend16, _) => return self.extend(to, a, width, 16),
            (Unary::Extend32, _) => return self.extend(to, a, width, 32),
        };
        self.compute(&Op::Unary { op, width, to, a }, helper, to, &[a]);
    }

    fn extend(&mut self, to: Var, a: Value, width: Width, from: i32) {
        let target = self.target(to);
        self.set(target, a);
        self.extend_register(target, width, from);
        self.done(to);
    }

    fn extend_register(&mut self, reg: Reg, width: Width, from: i32) {
        let by = Source::Imm(bits(width) - from);
        self.push(alu(alu_class(width), Alu::Lsh, reg, by));
        self.push(alu(alu_class(width), Alu::Arsh, reg, by));
    }

    /// Jumps to `label` where the comparison holds.
    pub(super) fn branch(&mut self, compare: &Compare, label: super::assembler::Label) {
        let Compare {
            mut condition,
            width,
            mut a,
            mut b,
        } = *compare;
        if let Some(holds) = crate::front::known(compare) {
            if holds {
                self.asm().jump(label);
            }
            return;
        }
        if matches!(a, Value::Const(_)) {
            (a, b) = (b, a);
            condition = condition.swapped();
        }
        let class = match width {
            Width::W32 => JMP32,
            Width::W64 => JMP,
        };
        let a = self.in_register(a, R0);
        let b = self.source(width, b, R1);
        self.asm().branch(class, jump(condition), a, b, label);
    }

    fn select(&mut self, to: Var, compare: &Compare, a: Value, b: Value) {
        if self.home(to) == Home::Nowhere {
            return;
        }
        let target = self.target(to);
        let is_there = |emitter: &Self, value: Value| match value {
            Value::Var(var) => emitter.home(var) == Home::Reg(target),
            Value::Const(_) => false,
        };
        let over = self.asm().label();
        if is_there(self, a) {
            self.branch(compare, over);
            self.set(target, b);
        } else if is_there(self, b) {
            let opposite = Compare {
                condition: compare.condition.inverted(),
                ..*compare
            };
            self.branch(&opposite, over);
            self.set(target, a);
        } else if target != R0 && !is_there(self, compare.a) && !is_there(self, compare.b) {
            self.set(target, a);
            self.branch(compare, over);
            self.set(target, b);
        } else {
            let holds = self.asm().label();
            self.branch(compare, holds);
            self.set(target, b);
            self.asm().jump(over);
            self.asm().bind(holds);
            self.set(target, a);
        }
        self.asm().bind(over);
        self.done(to);
    }

    fn check(&mut self, base: Var, extent: u64) {
        let outside = self.program.trap(Trap::MemoryOutOfBounds);
        // The front end has seen to it that there is so much memory, at most 4 MiB.
        let last = (self.program.environment.memory_bytes - extent) as i32;
        let base = self.in_register(Value::Var(base), R0);
        self.asm()
            .branch(JMP, Jump::Gt, base, Source::Imm(last), outside);
    }

    fn address(&mut self, to: Var, base: Value, offset: u32, extent: u64, is_bounded: bool) {
        if self.home(to) == Home::Nowhere {
            return;
        }
        let target = self.target(to);
        // What comes from the frame may, under speculation, be what was there before.
        let comes_from_frame =
            matches!(base, Value::Var(var) if !matches!(self.home(var), Home::Reg(_)));
        if is_bounded && !comes_from_frame {
            self.set(target, base);
            self.alu64(Alu::Add, target, Source::Reg(R7));
        } else if let Value::Var(_) = base {
            self.set(target, base);
            // All ones if the base is less, or zero: no branch, so nothing to speculate on.
            let end = (self.program.environment.memory_bytes - extent + 1) as i32;
            self.alu64(Alu::Mov, R1, Source::Reg(target));
            self.alu64(Alu::Sub, R1, Source::Imm(end));
            self.alu64(Alu::Arsh, R1, Source::Imm(63));
            self.alu64(Alu::And, target, Source::Reg(R1));
            self.alu64(Alu::Add, target, Source::Reg(R7));
        } else {
            self.alu64(Alu::Mov, target, Source::Reg(R7));
        }
        if offset != 0 {
            self.alu64(Alu::Add, target, Source::Imm(offset as i32));
        }
        self.done(to);
    }

    /// The register that an access starts from.
    fn base_of(&mut self, place: Place, scratch: Reg) -> Reg {
        match place.address {
            Some(address) => self.in_register(Value::Var(address), scratch),
            None => R7,
        }
    }

    fn load(&mut self, to: Var, access: Access, place: Place) {
        if self.home(to) == Home::Nowhere {
            return;
        }
        let base = self.base_of(place, R1);
        let target = self.target(to);
        let offset = place.offset as i16;
        self.push(load(size(access.bytes), target, base, offset));
        if let Some(width) = access.signed {
            self.extend_register(target, width, i32::from(access.bytes) * 8);
        }
        self.done(to);
    }

    fn store(&mut self, from: Value, bytes: u8, place: Place) {
        let base = self.base_of(place, R1);
        let width = if bytes == 8 { Width::W64 } else { Width::W32 };
        let source = self.source(width, from, R0);
        self.push(store(size(bytes), base, place.offset as i16, source));
    }

    fn global_offset(&self, global: u32) -> i16 {
        // At most 1,024 globals, 16 bytes each.
        (global * self.program.environment.global_stride) as i16
    }

    fn global_get(&mut self, to: Var, global: u32) {
        if self.home(to) == Home::Nowhere {
            return;
        }
        self.program.globals(R1);
        let target = self.target(to);
        self.push(load(Size::B8, target, R1, self.global_offset(global)));
        self.done(to);
    }

    fn global_set(&mut self, global: u32, from: Value) {
        self.program.globals(R1);
        let from = self.in_register(from, R0);
        let offset = self.global_offset(global);
        self.push(store(Size::B8, R1, offset, Source::Reg(from)));
    }

    /// Calls a helper that knows nothing of a machine. `op` is what is done so.
    fn compute(&mut self, op: &Op, helper: Helper, to: Var, arguments: &[Value]) {
        let saved = self.save(clobbers(op), op.writes());
        let moves: &[Reg] = &[R1, R2];
        self.set_all(&moves[..arguments.len()], arguments);
        self.asm().call(helper.number());
        self.take_result(to);
        self.restore(&saved);
    }

    fn take_result(&mut self, to: Var) {
        let target = self.target(to);
        if target != R0 {
            self.alu64(Alu::Mov, target, Source::Reg(R0));
        }
        self.done(to);
    }

    fn host(&mut self, op: &Op, callee: Callee, arguments: (u32, u32), to: Option<Var>) {
        let arguments = self.function.values[arguments.0 as usize..arguments.1 as usize].to_vec();
        let helper = match callee {
            Callee::Import(_) => Helper::Import,
            Callee::MemoryCopy => Helper::MemoryCopy,
            Callee::MemoryFill => Helper::MemoryFill,
        };
        let saved = self.save(clobbers(op), op.writes());
        let registers = [R2, R3, R4];
        self.set_all(&registers[..arguments.len()], &arguments);
        if let Callee::Import(index) = callee {
            self.set(R5, Value::Const(index.into()));
        }
        let fuel = offset_of!(Machine, fuel) as i16;
        self.program.machine(R1);
        self.push(store(Size::B8, R1, fuel, Source::Reg(R8)));
        self.asm().call(helper.number());
        let machine = self.program.machine_in(R1);
        self.push(load(Size::B8, R8, machine, fuel));
        let trapped = self.program.host_trap();
        self.asm()
            .branch(JMP, Jump::Slt, R8, Source::Imm(0), trapped);
        if let Some(to) = to {
            self.take_result(to);
        }
        self.restore(&saved);
    }

    /// Has values in registers, all at once: a value may be in another's register. Uses R0.
    fn set_all(&mut self, registers: &[Reg], values: &[Value]) {
        let home = |emitter: &Self, value: Value| match value {
            Value::Var(var) => match emitter.home(var) {
                Home::Reg(reg) => Some(reg),
                _ => None,
            },
            Value::Const(_) => None,
        };
        // Where a value is now, if in a register.
        let mut from: [Option<Reg>; 4] = [None; 4];
        for (at, value) in values.iter().enumerate() {
            from[at] = home(self, *value);
        }
        let mut left: [bool; 4] = [false; 4];
        left[..values.len()].fill(true);
        while let Some(some) = left.iter().position(|it| *it) {
            let needed = |reg: Reg, but: usize| {
                (0..values.len()).any(|at| at != but && left[at] && from[at] == Some(reg))
            };
            let next = (0..values.len()).find(|at| left[*at] && !needed(registers[*at], *at));
            let Some(at) = next else {
                // They wait for each other in a ring: one steps aside.
                if let Some(reg) = from[some] {
                    self.alu64(Alu::Mov, R0, Source::Reg(reg));
                    from[some] = Some(R0);
                }
                continue;
            };
            match from[at] {
                Some(reg) if reg == registers[at] => {}
                Some(reg) => self.alu64(Alu::Mov, registers[at], Source::Reg(reg)),
                None => self.set(registers[at], values[at]),
            }
            left[at] = false;
        }
    }
}
