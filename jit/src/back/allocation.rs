// SPDX-License-Identifier: GPL-2.0-only
//! Locations of variables: a register, or a slot of the function's frame.
//!
//! Linear scan: variables get registers in the order of their first use. When no register is free,
//! the variable with the least use gets a frame slot, for its whole life.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::frame::FIRST_SLOT;
use super::insn::{Reg, R2, R3, R4, R5, R6};
use super::liveness::{Interval, Liveness};
use crate::ir::{Calls, Function, Var};
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

#[derive(Debug, Default)]
pub(crate) struct Allocation {
    pub(crate) liveness: Liveness,
    /// The variables that are read, in the order of their intervals.
    order: Vec<Var>,
    pub(crate) locations: Vec<Location>,
    /// For each variable in a register, the slot that saves it during calls.
    backups: Vec<Option<u32>>,
    /// The variables of each register, in order, with their intervals.
    residents: [Vec<(Interval, Var)>; REGISTERS.len()],
    /// Number of the frame's slots.
    pub(crate) slots: u32,
}

/// Number of the [`REGISTERS`] that a call does not preserve.
fn clobbered(calls: Calls) -> usize {
    match calls {
        Calls::Nothing => 0,
        Calls::Helper => REGISTERS.len() - 1,
        Calls::Function => REGISTERS.len(),
    }
}

impl Allocation {
    /// The allocation of a function, in new memory.
    #[cfg(test)]
    pub(crate) fn new(function: &Function, work: &Work<'_>) -> Result<Self, Unsupported> {
        let mut this = Self::default();
        this.compute(function, work)?;
        Ok(this)
    }

    /// Computes the allocation of a function, in place of an earlier one.
    pub(crate) fn compute(
        &mut self,
        function: &Function,
        work: &Work<'_>,
    ) -> Result<(), Unsupported> {
        self.liveness.compute(function, work)?;
        let intervals = &self.liveness.intervals;
        let order = &mut self.order;
        order.clear();
        order.extend((0..function.vars).filter(|var| intervals[*var as usize].is_read));
        let halvings = order.len().checked_ilog2().unwrap_or(0) as usize;
        work.take(order.len() * (4 + halvings))?;
        order.sort_by_key(|var| intervals[*var as usize].start);
        renew(&mut self.locations, intervals.len(), Location::Nowhere);
        renew(&mut self.backups, intervals.len(), None);
        scan(order, intervals, &mut self.locations);
        self.residents.iter_mut().for_each(Vec::clear);
        work.take(self.liveness.calls.len())?;
        self.give_slots(function);
        Ok(())
    }

    /// Gives slots to variables that have no register, and to those that have to be saved.
    fn give_slots(&mut self, function: &Function) {
        let (intervals, calls) = (&self.liveness.intervals, &self.liveness.calls);
        self.slots = FIRST_SLOT + function.params;
        let mut free: BinaryHeap<Reverse<u32>> = BinaryHeap::new();
        let mut taken: BinaryHeap<(Reverse<u32>, u32)> = BinaryHeap::new();
        for var in &self.order {
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

/// Fills a list with `len` times the same, in the memory that it has.
pub(super) fn renew<T: Clone>(list: &mut Vec<T>, len: usize, all: T) {
    list.clear();
    list.resize(len, all);
}

fn crosses_call(interval: &Interval, register: usize, calls: &[(u32, Calls)]) -> bool {
    let first = calls.partition_point(|(at, _)| 2 * at < interval.start);
    calls[first..]
        .iter()
        .take_while(|(at, _)| 2 * at < interval.end)
        .any(|(at, calls)| interval.crosses(*at) && register < clobbered(*calls))
}

fn scan(order: &[Var], intervals: &[Interval], locations: &mut [Location]) {
    // For each register: the last variable in it, and where that ends.
    let mut last: [(Var, u32); REGISTERS.len()] = [(0, 0); REGISTERS.len()];
    for var in order {
        let interval = &intervals[*var as usize];
        let free = last.iter().position(|(_, end)| *end <= interval.start);
        let place = free.or_else(|| {
            // Evict the variable with the least use.
            let weight = |at: &usize| intervals[last[*at].0 as usize].weight;
            let least = (0..last.len()).min_by_key(weight)?;
            if weight(&least) >= interval.weight {
                return None;
            }
            // A placeholder until slots are assigned.
            locations[last[least].0 as usize] = Location::Slot(u32::MAX);
            Some(least)
        });
        locations[*var as usize] = match place {
            Some(at) => {
                last[at] = (*var, interval.end);
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
        let function = build(&body);
        let allocation = Allocation::new(&function, &work()).unwrap();
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
        let function = build(&format!(
            "{many} (loop (local.set 3 (i32.add (local.get 3) (local.get 0)))
               (br_if 0 (local.get 3))) (local.get 3)"
        ));
        let locations = Allocation::new(&function, &work()).unwrap().locations;
        assert!([0, 3]
            .iter()
            .all(|var| matches!(locations[*var], Location::Reg(_))));
    }
}
