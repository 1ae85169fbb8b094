// SPDX-License-Identifier: GPL-2.0-only
//! Emits a function: its blocks, branches, and calls within the module.

use alloc::vec::Vec;

use nf_wasm_shared::abi::trap::Trap;

use nf_wasm_shared::abi::limits;

use super::allocation::{Allocation, Location};
use super::assembler::{Assembler, Label};
use super::frame::{slot_offset, FIRST_SLOT, MAX_SLOTS, RETURN_SLOT, USED_SHIFT, USED_SLOT};
use super::insn::{load, store, Alu, Jump, Reg, Size, Source, JMP, R0, R1, R8, R9};
use super::liveness::FIRST;
use super::program::{Callers, Program};
use super::switch::{cases, switch};
use crate::calls::MORE_SLOTS;
use crate::ir::{BlockId, Calls, End, Function, Value, Var};
use crate::{Machine, Unsupported};
use core::mem::offset_of;

/// Emits a function.
pub(super) struct Emitter<'e, 'p> {
    pub(super) program: &'e mut Program<'p>,
    pub(super) function: &'e Function,
    pub(super) allocation: Allocation,
    labels: Vec<Label>,
    /// Number of slots that wasmi's frame of this function takes: the stack overflows at the same
    /// point in both tiers.
    taken: u32,
    /// The position of the current operation, as liveness counts them.
    at: u32,
    returns: Label,
    /// Whether it returns the verdict in R0.
    gives_verdict: bool,
    /// If so: for each variable, whether it can only be 0 or 1.
    truths: Vec<bool>,
}

/// Emits a function, which returns to `returns`. The interpreter's frame takes `taken` slots. If
/// `splits`, its code is better, but may need more of them.
pub(super) fn emit(
    program: &mut Program<'_>,
    function: &mut Function,
    taken: u32,
    returns: Label,
    splits: bool,
) -> Result<(), Unsupported> {
    let allocation = Allocation::new(function, splits, program.work)?;
    let function = &*function;
    if allocation.slots > taken + MORE_SLOTS || allocation.slots > MAX_SLOTS {
        return Err(Unsupported::Frame);
    }
    let gives_verdict = program.gives_verdict(function.index);
    let truths = if gives_verdict {
        function.truths()
    } else {
        Vec::new()
    };
    let labels = function.blocks.iter().map(|_| program.asm.label());
    let labels = labels.collect();
    let mut emitter = Emitter {
        program,
        function,
        allocation,
        labels,
        taken,
        at: FIRST,
        returns,
        gives_verdict,
        truths,
    };
    emitter.prologue();
    let order = &function.order;
    for (at, block) in order.iter().enumerate() {
        emitter.block(*block, order.get(at + 1).copied())?;
    }
    Ok(())
}

impl Emitter<'_, '_> {
    pub(super) fn asm(&mut self) -> &mut Assembler {
        &mut self.program.asm
    }

    fn prologue(&mut self) {
        if self.program.may_overflow() {
            self.check_stack();
        }
        for param in 0..self.function.params {
            if let Location::Reg(reg) = self.location(param) {
                self.load_slot(reg, FIRST_SLOT + param);
            }
        }
        for local in self.allocation.zeroed.clone() {
            let target = self.target(local);
            if self.location(local) != Location::Nowhere {
                self.set(target, Value::Const(0));
                self.done(local);
            }
        }
    }

    /// Traps if the interpreter's stack would overflow.
    fn check_stack(&mut self) {
        let overflow = self.program.trap(Trap::StackOverflow);
        let (shift, frames) = (USED_SHIFT, limits::CALL_DEPTH as i32);
        let one_more = Source::Imm((self.taken << shift) as i32 + 1);
        let max = Source::Imm((limits::VALUE_STACK_SLOTS << shift) as i32);
        self.load_slot(R0, USED_SLOT);
        self.alu64(Alu::Add, R0, one_more);
        self.asm().branch(JMP, Jump::Ge, R0, max, overflow);
        self.store_slot(USED_SLOT, R0);
        self.alu64(Alu::And, R0, Source::Imm((1 << shift) - 1));
        let frames = Source::Imm(frames);
        self.asm().branch(JMP, Jump::Gt, R0, frames, overflow);
    }

    /// Traps if the interpreter's stack has no room for a host function's arguments and results.
    pub(super) fn check_host_slots(&mut self, function: u32) {
        let slots = self.program.host_slots(function);
        if slots == 0 || !self.program.may_overflow() {
            return;
        }
        let overflow = self.program.trap(Trap::StackOverflow);
        let max = (limits::VALUE_STACK_SLOTS - slots) << USED_SHIFT;
        self.load_slot(R0, USED_SLOT);
        let max = Source::Imm(max as i32);
        self.asm().branch(JMP, Jump::Ge, R0, max, overflow);
    }

    fn block(&mut self, id: BlockId, next: Option<BlockId>) -> Result<(), Unsupported> {
        let begin = self.asm().len();
        let label = self.labels[id as usize];
        self.asm().bind(label);
        let function = self.function;
        let block = &function.blocks[id as usize];
        if block.fuel > 0 {
            self.charge(block.fuel);
        }
        for op in &block.ops {
            if !self.allocation.dead.has(self.at) {
                self.op(op);
            }
            self.at += 1;
        }
        self.end(&block.end, next);
        self.at += 1;
        let emitted = self.asm().len() - begin;
        self.program.work.take(1 + block.ops.len() + emitted)
    }

    /// Charges fuel. If the code charges only once, in memory instead of in R8.
    pub(super) fn charge(&mut self, fuel: u32) {
        let out = self.program.trap(Trap::OutOfFuel);
        let at = offset_of!(Machine, fuel) as i16;
        if let (true, Some(all)) = (self.program.charges_once(), self.program.environment.fuel) {
            // The front end limits what a block costs.
            let left = all as i32 - fuel as i32;
            if left < 0 {
                self.asm().jump(out);
            }
            return self.push(store(Size::B8, R9, at, Source::Imm(left)));
        }
        let fuel = Source::Imm(-(fuel as i32));
        if self.program.charges_once() {
            self.push(load(Size::B8, R0, R9, at));
            self.alu64(Alu::Add, R0, fuel);
            self.asm().branch(JMP, Jump::Slt, R0, Source::Imm(0), out);
            self.push(store(Size::B8, R9, at, Source::Reg(R0)));
        } else {
            self.alu64(Alu::Add, R8, fuel);
            self.asm().branch(JMP, Jump::Slt, R8, Source::Imm(0), out);
        }
    }

    fn end(&mut self, end: &End, next: Option<BlockId>) {
        match end {
            End::Jump(to) => self.go(*to, next),
            End::Branch {
                compare,
                then,
                otherwise,
            } => {
                if Some(*then) == next {
                    let opposite = crate::ir::Compare {
                        condition: compare.condition.inverted(),
                        ..*compare
                    };
                    let label = self.labels[*otherwise as usize];
                    self.branch(&opposite, label);
                } else {
                    let label = self.labels[*then as usize];
                    self.branch(compare, label);
                    self.go(*otherwise, next);
                }
            }
            End::Table { index, targets, .. } => {
                let reg = self.in_register(*index, R0);
                let labels: Vec<Label> = targets
                    .iter()
                    .map(|target| self.labels[*target as usize])
                    .collect();
                if let Some((default, labels)) = labels.split_last() {
                    switch(self.asm(), reg, &cases(labels, *default));
                }
            }
            End::Return(values) => self.give_back(*values),
            End::Trap(trap) => {
                let label = self.program.trap(*trap);
                self.asm().jump(label);
            }
        }
    }

    fn go(&mut self, to: BlockId, next: Option<BlockId>) {
        if Some(to) != next {
            let label = self.labels[to as usize];
            self.asm().jump(label);
        }
    }

    fn give_back(&mut self, (start, end): (u32, u32)) {
        let values = &self.function.values[start as usize..end as usize];
        if self.gives_verdict {
            return self.give_verdict(values);
        }
        match values {
            [] => {}
            [value] => self.put(FIRST_SLOT, *value),
            _ => {
                // A result's slot may hold a value that is still to be read. So copy in two steps.
                let beyond = self.allocation.slots + FIRST_SLOT;
                for (at, value) in values.iter().enumerate() {
                    self.put(beyond + at as u32, *value);
                }
                for at in 0..values.len() as u32 {
                    self.load_slot(R0, beyond + at);
                    self.store_slot(FIRST_SLOT + at, R0);
                }
            }
        }
        let returns = self.returns;
        self.asm().jump(returns);
    }

    fn give_verdict(&mut self, values: &[Value]) {
        match values {
            [Value::Const(verdict @ (0 | 1))] => self.set(R0, Value::Const(*verdict)),
            [verdict] => {
                self.set(R0, *verdict);
                if !matches!(verdict, Value::Var(var) if self.truths[*var as usize]) {
                    self.program.check_verdict();
                }
            }
            _ => {}
        }
        let returns = self.returns;
        self.asm().jump(returns);
    }

    /// Stores a value in a slot.
    fn put(&mut self, slot: u32, value: Value) {
        let offset = slot_offset(slot);
        let source = match value {
            Value::Const(value) if i32::try_from(value).is_ok() => Source::Imm(value as i32),
            _ => Source::Reg(self.in_register(value, R0)),
        };
        self.push(store(Size::B8, R9, offset, source));
    }

    /// Saves the registers that are needed after a call that changes them, except for the variables
    /// that the call writes: `count` from `to` on. Returns the argument for [`Self::restore`].
    pub(super) fn save(&mut self, calls: Calls, (to, count): (Var, u32)) -> Vec<(Reg, u32)> {
        let is_written =
            |reg: &Reg| (to..to + count).any(|var| self.location(var) == Location::Reg(*reg));
        let saved = self.allocation.saved(self.at, calls);
        let saved: Vec<_> = saved.filter(|(reg, _)| !is_written(reg)).collect();
        for (reg, slot) in &saved {
            self.store_slot(*slot, *reg);
        }
        saved
    }

    pub(super) fn restore(&mut self, saved: &[(Reg, u32)]) {
        for (reg, slot) in saved {
            self.load_slot(*reg, *slot);
        }
    }

    pub(super) fn call(&mut self, function: u32, arguments: (u32, u32), to: Var, results: u32) {
        let entry = self.program.entry(function);
        let callers = Callers::Of(function);
        self.enter(callers, arguments, to, results, |asm| asm.jump(entry));
    }

    pub(super) fn call_indirect(
        &mut self,
        signature: u32,
        index: Value,
        arguments: (u32, u32),
        to: Var,
        results: u32,
    ) {
        let (signature, dispatch) = self.program.dispatch(signature);
        // Nothing uses R1 between here and the jump.
        self.set(R1, index);
        let callers = Callers::OfType(signature);
        self.enter(callers, arguments, to, results, |asm| asm.jump(dispatch));
    }

    /// Enters the callee's frame after this one, calls, and leaves it again.
    fn enter(
        &mut self,
        callers: Callers,
        arguments: (u32, u32),
        to: Var,
        results: u32,
        jump: impl FnOnce(&mut Assembler),
    ) {
        let frame = self.allocation.slots;
        let saved = self.save(Calls::Function, (to, results));
        let arguments = &self.function.values[arguments.0 as usize..arguments.1 as usize];
        for (at, value) in arguments.iter().enumerate() {
            self.put(frame + FIRST_SLOT + at as u32, *value);
        }
        let (site, number) = self.program.site(callers);
        let at = slot_offset(frame + RETURN_SLOT);
        self.push(store(Size::B8, R9, at, Source::Imm(number)));
        if self.program.may_overflow() {
            self.load_slot(R0, USED_SLOT);
            self.store_slot(frame + USED_SLOT, R0);
        }
        let bytes = frame as i32 * 8;
        self.alu64(Alu::Add, R9, Source::Imm(bytes));
        jump(self.asm());
        self.asm().bind(site);
        self.alu64(Alu::Add, R9, Source::Imm(-bytes));
        for result in 0..results {
            let target = self.target(to + result);
            if self.location(to + result) != Location::Nowhere {
                self.load_slot(target, frame + FIRST_SLOT + result);
                self.done(to + result);
            }
        }
        self.restore(&saved);
    }
}
