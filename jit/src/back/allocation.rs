// SPDX-License-Identifier: GPL-2.0-only
//! Where each variable lives: in a register, or in a slot of the function's frame.
//!
//! Linear scan: variables get registers in the order in which they begin; where there is none left,
//! the one that is used least goes to the frame, for all its life.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::insn::{Reg, R2, R3, R4, R5, R6};
use super::liveness::{liveness, Interval, FIRST};
use crate::form::{Binary, Divide, Function, Op, Unary, Value, Var};
use crate::{Unsupported, Work};

/// Those that variables live in. The last survives calls of helpers.
pub(crate) const REGISTERS: [Reg; 5] = [R2, R3, R4, R5, R6];
/// The slot that says where a function was called from.
pub(crate) const RETURN_SLOT: u32 = 0;
/// The one that says what frames take up to this one.
pub(crate) const TAKEN_SLOT: u32 = 1;
/// Where parameters and results are.
pub(crate) use crate::machine::FIRST_SLOT;

/// Where a variable lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// Nobody reads it.
    Nowhere,
    Reg(Reg),
    Slot(u32),
}

#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) homes: Vec<Home>,
    /// Where a variable that lives in a register is kept during calls.
    backups: Vec<Option<u32>>,
    /// The variables of each register, in order, with their intervals.
    residents: [Vec<(Interval, Var)>; REGISTERS.len()],
    /// Locals that begin as zero.
    pub(crate) zeroed: Vec<Var>,
    /// Slots of the frame.
    pub(crate) slots: u32,
}

/// What a call does not leave as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clobbers {
    Nothing,
    /// A helper: all but the last of [`REGISTERS`].
    Most,
    /// Another function of the module.
    All,
}

impl Clobbers {
    /// How many of [`REGISTERS`].
    fn count(self) -> usize {
        match self {
            Clobbers::Nothing => 0,
            Clobbers::Most => REGISTERS.len() - 1,
            Clobbers::All => REGISTERS.len(),
        }
    }
}

pub(crate) fn clobbers(op: &Op) -> Clobbers {
    let is_variable = |value: &Value| matches!(value, Value::Var(_));
    match op {
        Op::Call { .. } | Op::CallIndirect { .. } => Clobbers::All,
        Op::Host { .. }
        | Op::Divide {
            op: Divide::DivS | Divide::RemS,
            ..
        }
        | Op::Unary {
            op: Unary::Clz | Unary::Ctz | Unary::Popcnt,
            ..
        } => Clobbers::Most,
        Op::Binary {
            op: Binary::RotL | Binary::RotR,
            b,
            ..
        } if is_variable(b) => Clobbers::Most,
        Op::Copy { .. }
        | Op::Binary { .. }
        | Op::Divide {
            op: Divide::DivU | Divide::RemU,
            ..
        }
        | Op::Unary {
            op: Unary::Extend8 | Unary::Extend16 | Unary::Extend32 | Unary::Wrap,
            ..
        }
        | Op::Compare { .. }
        | Op::Select { .. }
        | Op::Check { .. }
        | Op::Trap(_)
        | Op::Address { .. }
        | Op::Packet { .. }
        | Op::PacketAddress { .. }
        | Op::Load { .. }
        | Op::Store { .. }
        | Op::GlobalGet { .. }
        | Op::GlobalSet { .. } => Clobbers::Nothing,
    }
}

impl Allocation {
    pub(crate) fn new(function: &Function, work: &Work<'_>) -> Result<Self, Unsupported> {
        let liveness = liveness(function, work)?;
        let intervals = &liveness.intervals;
        let mut order: Vec<Var> = (0..function.vars)
            .filter(|var| intervals[*var as usize].is_read)
            .collect();
        let halvings = order.len().checked_ilog2().unwrap_or(0) as usize;
        work.take(order.len() * (4 + halvings))?;
        order.sort_by_key(|var| intervals[*var as usize].start);
        let mut homes = vec![Home::Nowhere; intervals.len()];
        scan(&order, intervals, &mut homes);

        let calls: Vec<(u32, Clobbers)> = function
            .order
            .iter()
            .flat_map(|block| {
                let ops = &function.blocks[*block as usize].ops;
                ops.iter().map(clobbers).chain([Clobbers::Nothing])
            })
            .zip(FIRST..)
            .filter(|(clobbers, _)| *clobbers != Clobbers::Nothing)
            .map(|(clobbers, at)| (at, clobbers))
            .collect();
        let mut allocation = Self {
            homes,
            backups: vec![None; intervals.len()],
            residents: Default::default(),
            zeroed: liveness.zeroed,
            slots: 0,
        };
        work.take(calls.len())?;
        allocation.give_slots(function, &order, intervals, &calls);
        Ok(allocation)
    }

    /// Gives slots to variables that have no register, and to those that have to be saved.
    fn give_slots(
        &mut self,
        function: &Function,
        order: &[Var],
        intervals: &[Interval],
        calls: &[(u32, Clobbers)],
    ) {
        self.slots = FIRST_SLOT + function.params;
        let mut free: BinaryHeap<Reverse<u32>> = BinaryHeap::new();
        let mut taken: BinaryHeap<(Reverse<u32>, u32)> = BinaryHeap::new();
        for var in order {
            let interval = intervals[*var as usize];
            let register = match self.homes[*var as usize] {
                Home::Reg(reg) => REGISTERS.iter().position(|it| *it == reg),
                _ => None,
            };
            if let Some(register) = register {
                self.residents[register].push((interval, *var));
                if !crosses_call(&interval, register, calls) {
                    continue;
                }
            }
            let slot = if *var < function.params {
                // Where the caller has put it.
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
                None => self.homes[*var as usize] = Home::Slot(slot),
            }
        }
    }

    /// The registers that operation `at` must not change, though it does, and where they are saved.
    pub(crate) fn saved(
        &self,
        at: u32,
        clobbers: Clobbers,
    ) -> impl Iterator<Item = (Reg, u32)> + '_ {
        let clobbered = &self.residents[..clobbers.count()];
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

fn crosses_call(interval: &Interval, register: usize, calls: &[(u32, Clobbers)]) -> bool {
    let first = calls.partition_point(|(at, _)| 2 * at < interval.start);
    calls[first..]
        .iter()
        .take_while(|(at, _)| 2 * at < interval.end)
        .any(|(at, clobbers)| interval.crosses(*at) && register < clobbers.count())
}

fn scan(order: &[Var], intervals: &[Interval], homes: &mut [Home]) {
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
            // Whoever is used least.
            let weight = |at: &usize| active[*at].map_or(0, |it| intervals[it as usize].weight);
            let least = (0..active.len()).min_by_key(weight)?;
            (weight(&least) < interval.weight).then_some(least)
        });
        homes[*var as usize] = match place {
            Some(at) => {
                if let Some(evicted) = active[at].replace(*var) {
                    // Until it has a slot.
                    homes[evicted as usize] = Home::Slot(u32::MAX);
                }
                Home::Reg(REGISTERS[at])
            }
            None => Home::Slot(u32::MAX),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use super::{Allocation, Home};
    use crate::testing::{build, work};

    #[test]
    fn no_register_has_two_values_at_a_time() {
        // As many values at a time as there are levels, more than there are registers.
        let mut body = String::from("(local.get 0)");
        for level in 0..12 {
            body = format!("(i32.add (i32.mul (local.get 1) (i32.const {level})) {body})");
        }
        let function = build(&body);
        let allocation = Allocation::new(&function, &work()).unwrap();
        for residents in &allocation.residents {
            assert!(!residents.is_empty());
            for pair in residents.windows(2) {
                assert!(pair[0].0.end <= pair[1].0.start, "{pair:?}");
            }
        }
        assert!(allocation
            .homes
            .iter()
            .any(|home| matches!(home, Home::Slot(_))));
    }

    #[test]
    fn what_is_used_in_a_loop_has_a_register_first() {
        let many = "(drop (i32.add (local.get 2) (local.get 1)))".repeat(3);
        let function = build(&format!(
            "{many} (loop (local.set 3 (i32.add (local.get 3) (local.get 0)))
               (br_if 0 (local.get 3))) (local.get 3)"
        ));
        let homes = Allocation::new(&function, &work()).unwrap().homes;
        assert!([0, 3].iter().all(|var| matches!(homes[*var], Home::Reg(_))));
    }
}
