// SPDX-License-Identifier: GPL-2.0-only
//! Locations of variables: a register, or a slot of the function's frame.
//!
//! Linear scan: variables get registers in the order of their first use. When no register is free,
//! the variable with the least use gets a frame slot, for its whole life. A variable that only the
//! next operation reads stays in R0.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::frame::FIRST_SLOT;
use super::insn::{Reg, R0, R2, R3, R4, R5, R6};
use super::liveness::{liveness, Interval, Ops, FIRST};
use crate::ir::{Calls, Divide, End, Function, Op, Value, Var, Written};
use crate::{Unsupported, Work};

/// The registers for variables. Calls of helpers preserve only the last.
pub(crate) const REGISTERS: [Reg; 5] = [R2, R3, R4, R5, R6];
/// The location of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// The variable is never read.
    Nowhere,
    Reg(Reg),
    Slot(u32),
}

#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) locations: Vec<Location>,
    /// For each variable in a register, the slot that saves it during calls.
    backups: Vec<Option<u32>>,
    /// The variables of each register, in order, with their intervals.
    residents: [Vec<(Interval, Var)>; REGISTERS.len()],
    /// Locals that begin as zero.
    pub(crate) zeroed: Vec<Var>,
    /// Operations that are left out.
    pub(crate) dead: Ops,
    /// Number of the frame's slots.
    pub(crate) slots: u32,
}

/// Maximum operations, dead ones and checks, between the write and the read of a variable in R0.
const MAX_AHEAD: u32 = 4;

/// Number of the [`REGISTERS`] that a call does not preserve.
fn clobbered(calls: Calls) -> usize {
    match calls {
        Calls::Nothing => 0,
        Calls::Helper => REGISTERS.len() - 1,
        Calls::Function => REGISTERS.len(),
    }
}

impl Allocation {
    /// If `splits`, values that are written to one local get locations of their own.
    pub(crate) fn new(
        function: &mut Function,
        splits: bool,
        work: &Work<'_>,
    ) -> Result<Self, Unsupported> {
        let liveness = liveness(function, splits, work)?;
        let intervals = &liveness.intervals;
        let mut locations = vec![Location::Nowhere; intervals.len()];
        pass_on(function, intervals, &liveness.dead, &mut locations);
        let is_to_place = |var: &Var| {
            intervals[*var as usize].is_read && locations[*var as usize] == Location::Nowhere
        };
        let mut order = Vec::with_capacity(function.vars as usize);
        order.extend((0..function.vars).filter(is_to_place));
        let halvings = order.len().checked_ilog2().unwrap_or(0) as usize;
        work.take(order.len() * (4 + halvings))?;
        order.sort_by_key(|var| intervals[*var as usize].start);
        scan(&order, intervals, &mut locations);

        let mut allocation = Self {
            locations,
            backups: vec![None; intervals.len()],
            residents: Default::default(),
            zeroed: liveness.zeroed,
            dead: liveness.dead,
            slots: 0,
        };
        work.take(liveness.calls.len())?;
        allocation.give_slots(function, &order, intervals, &liveness.calls);
        Ok(allocation)
    }

    /// Gives slots to variables that have no register, and to those that have to be saved.
    fn give_slots(
        &mut self,
        function: &Function,
        order: &[Var],
        intervals: &[Interval],
        calls: &[(u32, Calls)],
    ) {
        self.slots = FIRST_SLOT + function.params;
        let mut free: BinaryHeap<Reverse<u32>> = BinaryHeap::new();
        let mut taken: BinaryHeap<(Reverse<u32>, u32)> = BinaryHeap::new();
        for var in order {
            let interval = intervals[*var as usize];
            let register = match self.locations[*var as usize] {
                Location::Reg(reg) => REGISTERS.iter().position(|it| *it == reg),
                _ => None,
            };
            if let Some(register) = register {
                self.residents[register].push((interval, *var));
                if !crosses_call(&interval, register, calls) {
                    continue;
                }
            }
            let slot = if *var < function.params {
                // The caller passed it in this slot.
                FIRST_SLOT + *var
            } else {
                while let Some((Reverse(end), slot)) = taken.peek().copied() {
                    if end > interval.start {
                        break;
                    }
                    taken.pop();
                    free.push(Reverse(slot));
                }
                let slot = free.pop().map_or(self.slots, |Reverse(slot)| slot);
                self.slots = self.slots.max(slot + 1);
                taken.push((Reverse(interval.end), slot));
                slot
            };
            match register {
                Some(_) => self.backups[*var as usize] = Some(slot),
                None => self.locations[*var as usize] = Location::Slot(slot),
            }
        }
    }

    /// The registers that operation `at` has to save, and the slots for them: it changes them, but
    /// they are needed afterwards.
    pub(crate) fn saved(&self, at: u32, calls: Calls) -> impl Iterator<Item = (Reg, u32)> + '_ {
        let clobbered = &self.residents[..clobbered(calls)];
        clobbered
            .iter()
            .zip(REGISTERS)
            .filter_map(move |(residents, reg)| {
                let after = residents.partition_point(|(it, _)| it.start <= 2 * at);
                let (interval, var) = residents.get(after.checked_sub(1)?)?;
                let slot = self.backups[*var as usize]?;
                interval.crosses(at).then_some((reg, slot))
            })
    }
}

fn crosses_call(interval: &Interval, register: usize, calls: &[(u32, Calls)]) -> bool {
    let first = calls.partition_point(|(at, _)| 2 * at < interval.start);
    calls[first..]
        .iter()
        .take_while(|(at, _)| 2 * at < interval.end)
        .any(|(at, calls)| interval.crosses(*at) && register < clobbered(*calls))
}

/// Leaves each variable in R0 that is only read by the operation after the one that writes it.
fn pass_on(function: &Function, intervals: &[Interval], dead: &Ops, locations: &mut [Location]) {
    let mut at = FIRST;
    for block in &function.order {
        let block = &function.blocks[*block as usize];
        for (index, op) in block.ops.iter().enumerate() {
            let (Written::Value(var) | Written::Address(var)) = op.written() else {
                at += 1;
                continue;
            };
            let interval = intervals[var as usize];
            let is_short =
                interval.start == 2 * at + 1 && interval.end <= interval.start + 2 * MAX_AHEAD;
            // The operation that reads it last, or the end of the block.
            let last = index + (interval.end / 2).saturating_sub(at) as usize;
            let is_next = || {
                let between = block.ops[index + 1..].iter().zip(at + 1..interval.end / 2);
                // A check only reads its base.
                let is_quiet = |op: &Op| matches!(op, Op::Check { base, .. } if *base == var);
                between
                    .into_iter()
                    .all(|(op, at)| dead.has(at) || is_quiet(op))
            };
            let is_taken = || match block.ops.get(last) {
                Some(op) => takes_from_scratch(op, var),
                None if last > block.ops.len() => false,
                None => match &block.end {
                    End::Branch { .. } | End::Table { .. } => true,
                    End::Return((start, end)) => end - start == 1,
                    End::Jump(_) | End::Trap(_) => false,
                },
            };
            if is_short && is_next() && is_taken() {
                locations[var as usize] = Location::Reg(R0);
            }
            at += 1;
        }
        at += 1;
    }
}

/// Whether the instructions of an operation that reads `var` read it before they change R0, if it
/// is there.
fn takes_from_scratch(op: &Op, var: Var) -> bool {
    let var = Value::Var(var);
    match op {
        Op::Copy { .. }
        | Op::Compare { .. }
        | Op::Check { .. }
        | Op::Address { .. }
        | Op::PacketAddress { .. }
        | Op::Load { .. }
        | Op::Store { .. }
        | Op::GlobalSet { .. } => true,
        Op::Binary { op, b, .. } => op.calls(*b) == Calls::Nothing,
        Op::Unary { op, .. } => op.calls() == Calls::Nothing,
        // The dividend goes to R0 first.
        Op::Divide {
            op: Divide::DivU | Divide::RemU,
            b,
            ..
        } => *b != var,
        // The comparison comes first.
        Op::Select { a, b, .. } => *a != var && *b != var,
        Op::Divide { .. }
        | Op::Trap(_)
        | Op::Packet { .. }
        | Op::GlobalGet { .. }
        | Op::Call { .. }
        | Op::CallIndirect { .. }
        | Op::Host { .. } => false,
    }
}

fn scan(order: &[Var], intervals: &[Interval], locations: &mut [Location]) {
    let mut active: [Option<Var>; REGISTERS.len()] = [None; REGISTERS.len()];
    for var in order {
        let interval = intervals[*var as usize];
        for resident in &mut active {
            if resident.is_some_and(|it| intervals[it as usize].end <= interval.start) {
                *resident = None;
            }
        }
        let free = active.iter().position(Option::is_none);
        let place = free.or_else(|| {
            // Evict the variable with the least use.
            let weight = |at: &usize| active[*at].map_or(0, |it| intervals[it as usize].priority());
            let least = (0..active.len()).min_by_key(weight)?;
            (weight(&least) < interval.priority()).then_some(least)
        });
        locations[*var as usize] = match place {
            Some(at) => {
                if let Some(evicted) = active[at].replace(*var) {
                    // A placeholder until slots are assigned.
                    locations[evicted as usize] = Location::Slot(u32::MAX);
                }
                Location::Reg(REGISTERS[at])
            }
            None => Location::Slot(u32::MAX),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use super::{Allocation, Location};
    use crate::testing::{build, work};

    #[test]
    fn no_register_has_two_values_at_a_time() {
        // As many values are live as there are levels: more than there are registers.
        let mut body = String::from("(local.get 0)");
        for level in 0..12 {
            body = format!("(i32.add (i32.mul (local.get 1) (i32.const {level})) {body})");
        }
        let mut function = build(&body);
        let allocation = Allocation::new(&mut function, true, &work()).unwrap();
        for residents in &allocation.residents {
            assert!(!residents.is_empty());
            for pair in residents.windows(2) {
                assert!(pair[0].0.end <= pair[1].0.start, "{pair:?}");
            }
        }
        assert!(allocation
            .locations
            .iter()
            .any(|location| matches!(location, Location::Slot(_))));
    }

    #[test]
    fn what_is_used_in_a_loop_has_a_register_first() {
        let many = "(drop (i32.add (local.get 2) (local.get 1)))".repeat(3);
        let mut function = build(&format!(
            "{many} (loop (local.set 3 (i32.add (local.get 3) (local.get 0)))
               (br_if 0 (local.get 3))) (local.get 3)"
        ));
        let locations = Allocation::new(&mut function, true, &work())
            .unwrap()
            .locations;
        assert!([0, 3]
            .iter()
            .all(|var| matches!(locations[*var], Location::Reg(_))));
    }
}
