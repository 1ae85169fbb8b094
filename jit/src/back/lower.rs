// SPDX-License-Identifier: GPL-2.0-only
//! Instruction selection: the eBPF instructions of each operation.

use super::allocation::Location;
use super::frame::slot_offset;
use super::function::Emitter;
use super::helper::Helper;
use super::insn::{
    alu, constant, load, store, Alu, Jump, Reg, Size, Source, ALU32, ALU64, JMP, JMP32, R0, R1, R2,
    R3, R4, R8, R9,
};
use crate::ir::{Callee, Compare, Condition, Op, Value, Var, Width};
use crate::Machine;
use core::mem::offset_of;

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

/// An unsigned comparison of 32 bits as `a < b`, or its opposite.
fn less(compare: &Compare) -> Option<(Value, Value, bool)> {
    let Compare {
        mut condition,
        width: Width::W32,
        mut a,
        mut b,
    } = *compare
    else {
        return None;
    };
    if matches!(a, Value::Const(_)) {
        (a, b) = (b, a);
        condition = condition.swapped();
    }
    // As 64-bit numbers, which do not wrap around.
    Some(match (condition, b) {
        (Condition::LtU, b) => (a, b, false),
        (Condition::GtU, b) => (b, a, false),
        (Condition::LeU, Value::Const(b)) => (a, Value::Const(b + 1), false),
        (Condition::GeU, Value::Const(b)) => (Value::Const(b - 1), a, false),
        (Condition::LeU, b) => (b, a, true),
        (Condition::GeU, b) => (a, b, true),
        (Condition::Eq, Value::Const(0)) => (a, Value::Const(1), false),
        _ => return None,
    })
}

/// The value as an instruction's constant, if it fits.
fn immediate(width: Width, value: i64) -> Option<i32> {
    match width {
        Width::W32 => Some(value as i32),
        Width::W64 => i32::try_from(value).ok(),
    }
}

impl Emitter<'_, '_> {
    /// Inlined into its only caller: it is called for each operation.
    #[inline(always)]
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
            Op::Compare { to, compare } => self.compare(to, &compare),
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
                mask,
            } => self.address(to, base, offset, mask),
            Op::Packet { to } => self.packet(to),
            Op::PacketAddress {
                to,
                base,
                less,
                extent,
            } => self.packet_address(to, base, less, extent),
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

    pub(super) fn location(&self, var: Var) -> Location {
        self.allocation.locations[var as usize]
    }

    pub(super) fn push(&mut self, insn: super::insn::Insn) {
        self.asm().push(insn);
    }

    pub(super) fn alu64(&mut self, op: Alu, reg: Reg, source: Source) {
        self.push(alu(ALU64, op, reg, source));
    }

    pub(super) fn load_slot(&mut self, reg: Reg, slot: u32) {
        self.push(load(Size::B8, reg, R9, slot_offset(slot)));
    }

    pub(super) fn store_slot(&mut self, slot: u32, reg: Reg) {
        let source = Source::Reg(reg);
        self.push(store(Size::B8, R9, slot_offset(slot), source));
    }

    pub(super) fn set_constant(&mut self, reg: Reg, value: i64) {
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

    /// Whether a value is in `reg`.
    pub(super) fn is_in(&self, value: Value, reg: Reg) -> bool {
        matches!(value, Value::Var(var) if self.location(var) == Location::Reg(reg))
    }

    /// Moves a value to `reg`.
    pub(super) fn set(&mut self, reg: Reg, value: Value) {
        match value {
            Value::Const(value) => self.set_constant(reg, value),
            Value::Var(var) => match self.location(var) {
                Location::Reg(from) if from == reg => {}
                Location::Reg(from) => self.alu64(Alu::Mov, reg, Source::Reg(from)),
                Location::Slot(slot) => self.load_slot(reg, slot),
                // The variable was never written.
                Location::Nowhere => self.set_constant(reg, 0),
            },
        }
    }

    /// The register of a value. Loads it into `scratch` if it has none.
    pub(super) fn in_register(&mut self, value: Value, scratch: Reg) -> Reg {
        if let Value::Var(var) = value {
            if let Location::Reg(reg) = self.location(var) {
                return reg;
            }
        }
        self.set(scratch, value);
        scratch
    }

    /// As [`Self::in_register`], or a constant if it fits.
    pub(super) fn source(&mut self, width: Width, value: Value, scratch: Reg) -> Source {
        if let Value::Const(value) = value {
            if let Some(imm) = immediate(width, value) {
                return Source::Imm(imm);
            }
        }
        Source::Reg(self.in_register(value, scratch))
    }

    /// The register for a result. [`Self::done`] has to follow.
    pub(super) fn target(&self, to: Var) -> Reg {
        match self.location(to) {
            Location::Reg(reg) => reg,
            Location::Slot(_) | Location::Nowhere => R0,
        }
    }

    /// Stores a result that is in [`Self::target`], if its location is a slot.
    pub(super) fn done(&mut self, to: Var) {
        if let Location::Slot(slot) = self.location(to) {
            self.store_slot(slot, R0);
        }
    }

    fn copy(&mut self, to: Var, from: Value) {
        if self.location(to) == Location::Nowhere {
            return;
        }
        let target = self.target(to);
        self.set(target, from);
        self.done(to);
    }

    /// Jumps to `label` if the comparison holds.
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
        let (a, b) = match self.is_in(b, R0) {
            true => (self.in_register(a, R1), Source::Reg(R0)),
            false => (self.in_register(a, R0), self.source(width, b, R1)),
        };
        self.asm().branch(class, jump(condition), a, b, label);
    }

    /// 1 if the comparison holds, else 0.
    fn compare(&mut self, to: Var, compare: &Compare) {
        if self.location(to) == Location::Nowhere {
            return;
        }
        let Some((a, b, is_inverted)) = less(compare) else {
            return self.select(to, compare, Value::Const(1), Value::Const(0));
        };
        // The upper halves are zero. So the difference is negative if a < b.
        let target = self.target(to);
        let sum = match self.is_in(b, target) {
            false => target,
            true if target == R0 => R1,
            true => R0,
        };
        let b = self.source(Width::W64, b, R1);
        self.set(sum, a);
        self.alu64(Alu::Sub, sum, b);
        self.alu64(Alu::Rsh, sum, Source::Imm(63));
        if is_inverted {
            self.alu64(Alu::Xor, sum, Source::Imm(1));
        }
        if sum != target {
            self.alu64(Alu::Mov, target, Source::Reg(sum));
        }
        self.done(to);
    }

    fn select(&mut self, to: Var, compare: &Compare, a: Value, b: Value) {
        if self.location(to) == Location::Nowhere {
            return;
        }
        let target = self.target(to);
        let is_there = |emitter: &Self, value: Value| emitter.is_in(value, target);
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

    /// Calls a helper that takes no machine, for the operation `op`.
    pub(super) fn compute(&mut self, op: &Op, helper: Helper, to: Var, arguments: &[Value]) {
        let saved = self.save(op.calls(), op.writes());
        let moves: &[Reg] = &[R1, R2];
        self.set_all(&moves[..arguments.len()], arguments);
        self.asm().call(helper.number());
        self.take_result(to);
        self.restore(&saved);
    }

    pub(super) fn take_result(&mut self, to: Var) {
        let target = self.target(to);
        if target != R0 {
            self.alu64(Alu::Mov, target, Source::Reg(R0));
        }
        self.done(to);
    }

    fn host(&mut self, op: &Op, callee: Callee, arguments: (u32, u32), to: Option<Var>) {
        let arguments = self.function.values[arguments.0 as usize..arguments.1 as usize].to_vec();
        let own = |helper: Helper| (helper.number(), true);
        let (number, may_trap) = match callee {
            Callee::Import(index) => {
                let function = self.program.environment.imports[index as usize];
                self.check_host_slots(index);
                self.charge(function.fuel);
                let number = Helper::COUNT as i32 + function.number as i32;
                (number, function.may_trap)
            }
            Callee::MemoryCopy => own(Helper::MemoryCopy),
            Callee::MemoryFill => own(Helper::MemoryFill),
        };
        let saved = self.save(op.calls(), op.writes());
        let registers = [R2, R3, R4];
        self.set_all(&registers[..arguments.len()], &arguments);
        let fuel = offset_of!(Machine, fuel) as i16;
        self.program.machine(R1);
        if may_trap {
            self.push(store(Size::B8, R1, fuel, Source::Reg(R8)));
        }
        self.asm().call(number);
        if may_trap {
            let machine = self.program.machine_in(R1);
            self.push(load(Size::B8, R8, machine, fuel));
            let trapped = self.program.host_trap();
            self.asm()
                .branch(JMP, Jump::Slt, R8, Source::Imm(0), trapped);
        }
        if let Some(to) = to {
            self.take_result(to);
        }
        self.restore(&saved);
    }

    /// Moves values to registers, in parallel: a value may be in the register of another. Uses R0.
    fn set_all(&mut self, registers: &[Reg], values: &[Value]) {
        let register = |emitter: &Self, value: Value| match value {
            Value::Var(var) => match emitter.location(var) {
                Location::Reg(reg) => Some(reg),
                _ => None,
            },
            Value::Const(_) => None,
        };
        // The current register of each value, if it has one.
        let mut from: [Option<Reg>; 4] = [None; 4];
        for (at, value) in values.iter().enumerate() {
            from[at] = register(self, *value);
        }
        let mut left: [bool; 4] = [false; 4];
        left[..values.len()].fill(true);
        while let Some(some) = left.iter().position(|it| *it) {
            let needed = |reg: Reg, but: usize| {
                (0..values.len()).any(|at| at != but && left[at] && from[at] == Some(reg))
            };
            let next = (0..values.len()).find(|at| left[*at] && !needed(registers[*at], *at));
            let Some(at) = next else {
                // The rest is a cycle. Break it: move one value to R0.
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
