// SPDX-License-Identifier: GPL-2.0-only
//! From where to where a variable has to keep its value.

use alloc::vec;
use alloc::vec::Vec;

use crate::form::{Function, Value, Var};

/// Words of the sets at most: beyond, every variable that might be carried around a loop is live
/// everywhere. This bounds time and memory for huge functions.
const MOST_WORDS: usize = 1 << 18;

/// Number of the first operation.
pub(crate) const FIRST: u32 = 1;

/// Positions from the first write to the last read. Operation *n* of the code, blocks' ends included,
/// reads at 2*n* and writes at 2*n* + 1; the first is number 1, and what comes before it, which gives
/// parameters and locals their values, is number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// How often it is read or written, times eight for each loop around.
    pub(crate) weight: u32,
    pub(crate) is_read: bool,
}

impl Interval {
    const EMPTY: Self = Self {
        start: u32::MAX,
        end: 0,
        weight: 0,
        is_read: false,
    };

    pub(crate) fn is_empty(&self) -> bool {
        self.start == u32::MAX
    }

    fn cover(&mut self, at: u32) {
        self.start = self.start.min(at);
        self.end = self.end.max(at);
    }

    /// Whether the value is needed before and after operation `op`.
    pub(crate) fn crosses(&self, op: u32) -> bool {
        self.start <= 2 * op && self.end > 2 * op + 1
    }
}

/// What is known of a function's variables.
#[derive(Debug)]
pub(crate) struct Liveness {
    pub(crate) intervals: Vec<Interval>,
    /// Locals, besides parameters, that are read before they are written: they begin as zero.
    pub(crate) zeroed: Vec<Var>,
}

/// Sets of the variables that may be carried around loops, one for each block.
struct Sets {
    words: usize,
    bits: Vec<u64>,
}

impl Sets {
    fn new(blocks: usize, words: usize) -> Self {
        Self {
            words,
            bits: vec![0; blocks * words],
        }
    }

    fn of(&self, block: usize) -> &[u64] {
        &self.bits[block * self.words..][..self.words]
    }

    fn of_mut(&mut self, block: usize) -> &mut [u64] {
        &mut self.bits[block * self.words..][..self.words]
    }

    fn has(&self, block: usize, member: usize) -> bool {
        self.of(block)[member / 64] & (1 << (member % 64)) != 0
    }

    fn insert(&mut self, block: usize, member: usize) {
        self.of_mut(block)[member / 64] |= 1 << (member % 64);
    }
}

pub(crate) fn liveness(function: &Function) -> Liveness {
    let mut intervals = vec![Interval::EMPTY; function.vars as usize];
    let mut bounds = vec![(0, 0); function.blocks.len()];
    let mut at = FIRST;
    for block in &function.order {
        let start = 2 * at;
        let body = &function.blocks[*block as usize];
        let weight = 8_u32.pow(body.depth.min(4));
        let mut touch = |var: Var, position, is_read| {
            let interval = &mut intervals[var as usize];
            interval.cover(position);
            interval.weight = interval.weight.saturating_add(weight);
            interval.is_read |= is_read;
        };
        for op in &body.ops {
            op.reads(&function.values, |value| {
                if let Value::Var(var) = value {
                    touch(var, 2 * at, true);
                }
            });
            let (to, count) = op.writes();
            (to..to + count).for_each(|var| touch(var, 2 * at + 1, false));
            at += 1;
        }
        body.end.reads(&function.values, |value| {
            if let Value::Var(var) = value {
                touch(var, 2 * at, true);
            }
        });
        at += 1;
        bounds[*block as usize] = (start, 2 * at - 1);
    }
    let zeroed = carry(function, &bounds, 2 * at, &mut intervals);
    for var in (0..function.params).chain(zeroed.iter().copied()) {
        if !intervals[var as usize].is_empty() {
            intervals[var as usize].start = 1;
        }
    }
    Liveness { intervals, zeroed }
}

/// Extends the intervals of variables that keep a value around a loop. Returns the locals that begin
/// as zero.
fn carry(
    function: &Function,
    bounds: &[(u32, u32)],
    end: u32,
    intervals: &mut [Interval],
) -> Vec<Var> {
    let members: Vec<Var> = (0..function.locals)
        .chain(function.carried.iter().copied())
        .filter(|var| !intervals[*var as usize].is_empty())
        .collect();
    let words = members.len().div_ceil(64);
    if function.blocks.len() * words > MOST_WORDS {
        for var in &members {
            intervals[*var as usize].cover(1);
            intervals[*var as usize].cover(end);
        }
        return (function.params..function.locals)
            .filter(|var| !intervals[*var as usize].is_empty())
            .collect();
    }
    let mut index_of = vec![usize::MAX; function.vars as usize];
    for (index, var) in members.iter().enumerate() {
        index_of[*var as usize] = index;
    }
    // Read in a block before it is written there; written there.
    let mut needed = Sets::new(function.blocks.len(), words);
    let mut written = Sets::new(function.blocks.len(), words);
    for block in function.order.iter().map(|it| *it as usize) {
        let body = &function.blocks[block];
        let mut read = |value, written: &Sets| {
            if let Value::Var(var) = value {
                let index = index_of[var as usize];
                if index != usize::MAX && !written.has(block, index) {
                    needed.insert(block, index);
                }
            }
        };
        for op in &body.ops {
            op.reads(&function.values, |value| read(value, &written));
            let (to, count) = op.writes();
            for var in to..to + count {
                let index = index_of[var as usize];
                if index != usize::MAX {
                    written.insert(block, index);
                }
            }
        }
        body.end
            .reads(&function.values, |value| read(value, &written));
    }
    // Backwards until nothing changes: once more for each loop around another.
    let mut live_out = Sets::new(function.blocks.len(), words);
    loop {
        let mut changed = false;
        for block in function.order.iter().rev().map(|it| *it as usize) {
            function.blocks[block].end.successors(|next| {
                for word in 0..words {
                    let at = next as usize * words + word;
                    let live_in = needed.bits[at] | live_out.bits[at] & !written.bits[at];
                    let out = &mut live_out.bits[block * words + word];
                    changed |= live_in & !*out != 0;
                    *out |= live_in;
                }
            });
        }
        if !changed {
            break;
        }
    }
    for block in function.order.iter().map(|it| *it as usize) {
        let (start, end) = bounds[block];
        for (index, var) in members.iter().enumerate() {
            let interval = &mut intervals[*var as usize];
            let is_out = live_out.has(block, index);
            if is_out {
                interval.cover(end);
            }
            if needed.has(block, index) || is_out && !written.has(block, index) {
                interval.cover(start);
            }
        }
    }
    let entry = function.order.first().map_or(0, |it| *it as usize);
    let begins_live = |index: usize| {
        needed.has(entry, index) || live_out.has(entry, index) && !written.has(entry, index)
    };
    members
        .iter()
        .enumerate()
        .filter(|(index, var)| {
            (function.params..function.locals).contains(*var) && begins_live(*index)
        })
        .map(|(_, var)| *var)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{liveness, Interval};
    use crate::testing::build;

    #[test]
    fn a_value_lives_from_its_write_to_its_last_read() {
        let function = build("(local.set 3 (i32.mul (local.get 0) (local.get 1))) (local.get 3)");
        let liveness = liveness(&function);
        // Parameters are there from the start. One multiplication, and the return.
        let Interval { start, end, .. } = liveness.intervals[0];
        assert_eq!((start, end), (1, 2));
        let Interval { start, end, .. } = liveness.intervals[3];
        assert_eq!((start, end), (3, 4));
        assert!(liveness.intervals[2].is_empty() && liveness.zeroed.is_empty());
    }

    #[test]
    fn what_is_carried_around_a_loop_lives_in_all_of_it() {
        let function = build(
            "(loop
               (local.set 3 (i32.add (local.get 3) (local.get 0)))
               (local.set 4 (i32.mul (local.get 0) (local.get 1)))
               (br_if 0 (i32.lt_u (local.get 4) (local.get 1))))
             (local.get 3)",
        );
        let liveness = liveness(&function);
        // It begins as zero, and is read last by the return; the other one is written in each round.
        assert_eq!(liveness.zeroed, [3]);
        let (sum, round) = (liveness.intervals[3], liveness.intervals[4]);
        assert!(sum.start < round.start && round.end < sum.end);
        // What the loop reads and does not write.
        assert!(liveness.intervals[0].end >= round.end);
    }
}
