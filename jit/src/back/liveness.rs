// SPDX-License-Identifier: GPL-2.0-only
//! Liveness: the interval of the code in which a variable must keep its value.

mod uses;

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::ir::{BlockId, Calls, Function, Var};
use crate::{Unsupported, Work};
pub(crate) use uses::Ops;
use uses::{split, uses};

/// Maximum words of a function's sets, one set for each block. This bounds memory.
const MAX_WORDS: usize = 1 << 16;
/// Maximum words that one round merges, divided by the number of operations and edges. This bounds
/// time.
const MAX_WORDS_OF_AN_OPERATION: usize = 128;
/// Maximum rounds. They are counted in merged words: one round merges as many as one visit of each
/// edge.
const MAX_ROUNDS: usize = 8;
/// Variables that count as one step in a loop that only initialises a table entry for each.
const VARIABLES_OF_A_STEP: usize = 4;
/// Words per step: they are merged without a look at single bits.
const WORDS_OF_A_STEP: usize = 4;

/// Number of the first operation.
pub(crate) const FIRST: u32 = 1;

/// Positions from the first write to the last read. Operation *n* of the code reads at 2*n* and
/// writes at 2*n* + 1. The ends of blocks count as operations. The first operation is number 1.
/// Number 0 is the function's entry, which sets parameters and locals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Number of reads and writes, each times eight for each loop around it.
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

    /// What it costs not to have a register, less for a variable that would occupy one for long.
    pub(crate) fn priority(&self) -> u64 {
        let weight = u64::from(self.weight);
        weight * weight * 64 / u64::from(1 + self.end.saturating_sub(self.start))
    }

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

/// The intervals of a function's variables.
#[derive(Debug)]
pub(crate) struct Liveness {
    pub(crate) intervals: Vec<Interval>,
    /// The operations that call, with the kinds of their calls.
    pub(crate) calls: Vec<(u32, Calls)>,
    /// Locals, without parameters, that may be read before they are written: they begin as zero.
    pub(crate) zeroed: Vec<Var>,
    /// Operations whose results nobody reads.
    pub(crate) dead: Ops,
}

/// Sets of variables that may be live across blocks, one for each block.
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

/// If `splits`, gives some values variables of their own.
pub(crate) fn liveness(
    function: &mut Function,
    splits: bool,
    work: &Work<'_>,
) -> Result<Liveness, Unsupported> {
    within(function, MAX_ROUNDS, splits, work)
}

fn within(
    function: &mut Function,
    rounds: usize,
    splits: bool,
    work: &Work<'_>,
) -> Result<Liveness, Unsupported> {
    // This function and the allocation initialise entries for each variable, used or not. A split
    // adds no more variables than there are operations.
    work.take(function.vars as usize / VARIABLES_OF_A_STEP)?;
    let across = Across::of(function, work)?;
    let candidates = (0..function.locals).chain(function.carried.iter().copied());
    let mut members = Vec::with_capacity(function.locals as usize + function.carried.len());
    members.extend(candidates.filter(|var| across.has(*var)));
    let end = across.end;
    let edges = Edges::of(function);
    work.take(edges.from.len() + function.blocks.len())?;
    let live = Live::of(function, across, &edges, &members, rounds, work)?;
    let (dead, closed) = match &live {
        Some((live, true)) => uses(function, live, &members, work)?,
        _ => Default::default(),
    };
    let splits = splits && closed.is_any();
    if splits {
        split(function, &dead, &closed);
    }
    let mut touched = Touched::new(function, &dead, work)?;
    let intervals = &mut touched.intervals;
    let zeroed = match live {
        Some((live, is_complete)) => {
            let ends = match is_complete {
                true => Vec::new(),
                false => ends_of_loops(function, &edges, &touched.bounds),
            };
            live.extend(function, &members, &touched.bounds, &ends, intervals)
        }
        None => {
            // Too much work: treat each variable as live everywhere.
            for var in &members {
                let interval = &mut intervals[*var as usize];
                if !interval.is_empty() {
                    interval.cover(1);
                    interval.cover(2 * end);
                }
            }
            (function.params..function.locals)
                .filter(|var| !intervals[*var as usize].is_empty())
                .collect()
        }
    };
    for var in (0..function.params).chain(zeroed.iter().copied()) {
        if !intervals[var as usize].is_empty() {
            intervals[var as usize].start = 1;
        }
    }
    Ok(Liveness {
        intervals: touched.intervals,
        calls: touched.calls,
        zeroed,
        dead,
    })
}

/// The last blocks that read and wrote a variable: their places in the order, counted from 1.
#[derive(Clone, Copy)]
struct Mark {
    read: u32,
    written: u32,
}

/// The reads and writes of variables that may be live across blocks.
struct Across {
    /// For each variable, its last blocks. For a variable that lives in one block, no block comes
    /// later.
    marks: Vec<Mark>,
    /// Blocks, and the variables that they read before they write them.
    read: Vec<(BlockId, Var)>,
    /// Blocks, and the variables that they write.
    written: Vec<(BlockId, Var)>,
    /// The operations have numbers below this.
    end: u32,
}

impl Across {
    fn of(function: &Function, work: &Work<'_>) -> Result<Self, Unsupported> {
        let [never, always] = [0, u32::MAX].map(|place| Mark {
            read: place,
            written: place,
        });
        let mut marks = vec![always; function.vars as usize];
        marks[..function.locals as usize].fill(never);
        for var in &function.carried {
            marks[*var as usize] = never;
        }
        // Most are read and written by few blocks.
        let room = function.locals as usize + function.carried.len();
        let mut this = Self {
            marks,
            read: Vec::with_capacity(room),
            written: Vec::with_capacity(room),
            end: FIRST,
        };
        for (place, block) in (1..).zip(&function.order) {
            let body = &function.blocks[*block as usize];
            work.take(1 + body.ops.len())?;
            for op in &body.ops {
                let uses = op.uses();
                uses.reads(&function.values, |var| this.read(var, *block, place));
                let (to, count) = uses.writes;
                (to..to + count).for_each(|var| this.write(var, *block, place));
            }
            body.end
                .reads(&function.values, |var| this.read(var, *block, place));
            this.end += 1 + body.ops.len() as u32;
        }
        Ok(this)
    }

    #[inline(always)]
    fn read(&mut self, var: Var, block: BlockId, place: u32) {
        let mark = &mut self.marks[var as usize];
        if mark.read.max(mark.written) < place {
            mark.read = place;
            self.read.push((block, var));
        }
    }

    #[inline(always)]
    fn write(&mut self, var: Var, block: BlockId, place: u32) {
        let mark = &mut self.marks[var as usize];
        if mark.written < place {
            mark.written = place;
            self.written.push((block, var));
        }
    }

    /// Whether a block reads or writes a variable that may be live across blocks.
    fn has(&self, var: Var) -> bool {
        let mark = self.marks[var as usize];
        mark.read.max(mark.written) != 0
    }
}

/// The reads and writes of each variable.
struct Touched {
    intervals: Vec<Interval>,
    /// The first and the last position of each block.
    bounds: Vec<(u32, u32)>,
    /// The operations that call, with the kinds of their calls. Dead ones are left out.
    calls: Vec<(u32, Calls)>,
}

impl Touched {
    fn new(function: &Function, dead: &Ops, work: &Work<'_>) -> Result<Self, Unsupported> {
        let mut intervals = vec![Interval::EMPTY; function.vars as usize];
        let mut bounds = vec![(0, 0); function.blocks.len()];
        let mut calls = Vec::new();
        let mut at = FIRST;
        for block in &function.order {
            let start = 2 * at;
            let body = &function.blocks[*block as usize];
            work.take(1 + body.ops.len())?;
            let weight = 8_u32.pow(body.depth.min(4));
            let mut touch = |var: Var, position, is_read| {
                let interval = &mut intervals[var as usize];
                // Positions come in order.
                interval.start = interval.start.min(position);
                interval.end = position;
                interval.weight = interval.weight.saturating_add(weight);
                interval.is_read |= is_read;
            };
            for op in &body.ops {
                if !dead.has(at) {
                    let uses = op.uses();
                    uses.reads(&function.values, |var| touch(var, 2 * at, true));
                    let (to, count) = uses.writes;
                    (to..to + count).for_each(|var| touch(var, 2 * at + 1, false));
                    if uses.calls != Calls::Nothing {
                        calls.push((at, uses.calls));
                    }
                }
                at += 1;
            }
            body.end
                .reads(&function.values, |var| touch(var, 2 * at, true));
            at += 1;
            bounds[*block as usize] = (start, 2 * at - 1);
        }
        Ok(Self {
            intervals,
            bounds,
            calls,
        })
    }
}

/// The index of each variable among `members`, or the largest number.
fn indices(function: &Function, members: &[Var]) -> Vec<usize> {
    let mut index_of = vec![usize::MAX; function.vars as usize];
    for (index, var) in members.iter().enumerate() {
        index_of[*var as usize] = index;
    }
    index_of
}

/// The edges of the control flow graph.
struct Edges {
    /// The positions of blocks in the order.
    places: Vec<u32>,
    /// For each block, the index in `from` of the first edge to it. Those of the next block follow.
    starts: Vec<u32>,
    /// The source blocks of edges.
    from: Vec<u32>,
}

impl Edges {
    fn of(function: &Function) -> Self {
        let mut places = vec![0; function.blocks.len()];
        for (place, block) in (0..).zip(&function.order) {
            places[*block as usize] = place;
        }
        let mut starts = vec![0; function.blocks.len() + 1];
        for block in &function.order {
            let end = &function.blocks[*block as usize].end;
            end.successors(|next| starts[next as usize + 1] += 1);
        }
        for block in 0..function.blocks.len() {
            starts[block + 1] += starts[block];
        }
        let mut next_free = starts.clone();
        let mut from = vec![0; starts.last().copied().unwrap_or(0) as usize];
        for block in &function.order {
            let end = &function.blocks[*block as usize].end;
            end.successors(|next| {
                let free = &mut next_free[next as usize];
                from[*free as usize] = *block;
                *free += 1;
            });
        }
        Self {
            places,
            starts,
            from,
        }
    }

    /// The predecessors of a block.
    fn to(&self, block: usize) -> &[u32] {
        &self.from[self.starts[block] as usize..self.starts[block + 1] as usize]
    }
}

/// The variables that are live at the beginning and at the end of each block.
struct Live {
    inside: Sets,
    outside: Sets,
    /// The variables that each block writes.
    written: Sets,
}

impl Live {
    /// `None` if it would take too much work. Otherwise also returns whether the sets are complete.
    fn of(
        function: &Function,
        across: Across,
        edges: &Edges,
        members: &[Var],
        rounds: usize,
        work: &Work<'_>,
    ) -> Result<Option<(Self, bool)>, Unsupported> {
        let words = members.len().div_ceil(64);
        let sets = function.blocks.len() * words;
        let round = sets + edges.from.len() * words;
        let max = MAX_WORDS_OF_AN_OPERATION * (across.end as usize + edges.from.len());
        if sets > MAX_WORDS || round > max {
            return Ok(None);
        }
        work.take((4 * sets + function.loops.len() * words) / WORDS_OF_A_STEP)?;
        let mut live = Live::new(function, across, members, words);
        let is_complete = live.spread(function, edges, rounds * round, work)?;
        Ok(Some((live, is_complete)))
    }

    /// Extends the intervals of variables that are live across blocks. `ends` are those of loops,
    /// if the sets are not complete. Returns the locals that begin as zero.
    fn extend(
        &self,
        function: &Function,
        members: &[Var],
        bounds: &[(u32, u32)],
        ends: &[(usize, u32)],
        intervals: &mut [Interval],
    ) -> Vec<Var> {
        let mut seen = vec![0_u64; self.inside.words];
        // In reverse order, the first block with the variable gives the end of its interval.
        for block in function.order.iter().rev().map(|it| *it as usize) {
            each_new(self.outside.of(block), &mut seen, |index| {
                intervals[members[index] as usize].cover(bounds[block].1);
            });
        }
        seen.fill(0);
        for block in function.order.iter().map(|it| *it as usize) {
            each_new(self.inside.of(block), &mut seen, |index| {
                intervals[members[index] as usize].cover(bounds[block].0);
            });
        }
        seen.fill(0);
        for (header, last) in ends {
            each_new(self.inside.of(*header), &mut seen, |index| {
                intervals[members[index] as usize].cover(*last);
            });
        }
        let entry = function.order.first().map_or(0, |it| *it as usize);
        members
            .iter()
            .enumerate()
            .filter(|(index, var)| {
                (function.params..function.locals).contains(*var) && self.inside.has(entry, *index)
            })
            .map(|(_, var)| *var)
            .collect()
    }

    /// Initialises `inside` with the variables that each block reads before it writes them.
    fn new(function: &Function, across: Across, members: &[Var], words: usize) -> Self {
        let mut index_of = across.marks;
        for (index, var) in (0..).zip(members) {
            index_of[*var as usize].read = index;
        }
        let sets = |list: &[(BlockId, Var)]| {
            let mut sets = Sets::new(function.blocks.len(), words);
            for (block, var) in list {
                sets.insert(*block as usize, index_of[*var as usize].read as usize);
            }
            sets
        };
        Self {
            inside: sets(&across.read),
            outside: sets(&[]),
            written: sets(&across.written),
        }
    }

    /// Propagates live variables to predecessors. Visits the last block first: forward edges are
    /// visited once, and back edges only if a set changes. After `max_words` words it only visits
    /// blocks that it has not visited yet. Returns whether it always stayed within `max_words`.
    fn spread(
        &mut self,
        function: &Function,
        edges: &Edges,
        max_words: usize,
        work: &Work<'_>,
    ) -> Result<bool, Unsupported> {
        let words = self.inside.words;
        let mut is_due = vec![true; function.order.len()];
        let mut due: BinaryHeap<u32> = (0..function.order.len() as u32).collect();
        // Blocks at lower positions have not been visited yet.
        let mut next_new = function.order.len() as u32;
        let (mut left, mut is_complete) = (max_words, true);
        while let Some(place) = due.pop() {
            let is_new = place < next_new;
            if is_new {
                next_new = place;
            }
            is_due[place as usize] = false;
            let block = function.order[place as usize] as usize;
            let from = edges.to(block);
            let cost = (1 + from.len()) * words;
            if !is_new && left < cost {
                is_complete = false;
                continue;
            }
            left = left.saturating_sub(cost);
            work.take(1 + from.len() + cost / WORDS_OF_A_STEP)?;
            let mut has_changed = is_new;
            for word in block * words..(block + 1) * words {
                let live = self.outside.bits[word] & !self.written.bits[word];
                has_changed |= live & !self.inside.bits[word] != 0;
                self.inside.bits[word] |= live;
            }
            if !has_changed {
                continue;
            }
            for before in from.iter().map(|it| *it as usize) {
                let mut has_changed = false;
                for word in 0..words {
                    let live = self.inside.bits[block * words + word];
                    let outside = &mut self.outside.bits[before * words + word];
                    has_changed |= live & !*outside != 0;
                    *outside |= live;
                }
                let place = edges.places[before];
                if has_changed && !core::mem::replace(&mut is_due[place as usize], true) {
                    due.push(place);
                }
            }
        }
        Ok(is_complete)
    }
}

/// Passes each member of `set` that is not in `seen` to `f`, and adds it to `seen`.
fn each_new(set: &[u64], seen: &mut [u64], mut f: impl FnMut(usize)) {
    for (word, (set, seen)) in set.iter().zip(seen).enumerate() {
        let mut new = set & !*seen;
        *seen |= new;
        while new != 0 {
            f(word * 64 + new.trailing_zeros() as usize);
            new &= new - 1;
        }
    }
}

/// For each loop, its first block, and a bound for the end of the intervals of the variables that
/// are live there. Sorted by the bound, the largest first.
///
/// In the order of blocks, all edges lead forward, except for those back to a loop's first block. A
/// variable that is live at a loop's first block is live on every path back to it. These paths lie
/// between that block and the last back edge, and an interval that includes both includes them. So
/// this replaces the propagation along back edges that [`Live::spread`] skipped.
fn ends_of_loops(function: &Function, edges: &Edges, bounds: &[(u32, u32)]) -> Vec<(usize, u32)> {
    let mut ends = Vec::new();
    // The outermost of the loops seen so far. Inner loops come before those around them.
    let mut apart: Vec<(u32, u32)> = Vec::new();
    for (place, _) in &function.loops {
        let header = function.order[*place as usize] as usize;
        let back = edges.to(header).iter().map(|it| *it as usize);
        let back = back.filter(|block| edges.places[*block] >= *place);
        let last = back.map(|block| bounds[block].1).max().unwrap_or(0);
        let inner = apart.partition_point(|(it, _)| it < place);
        // A back edge to this loop may start in an inner loop, which may repeat before. So the
        // variables stay live up to the end of the inner loop. A loop without back edges passes
        // that end on to the loops around it.
        let within = apart.drain(inner..).map(|(_, end)| end).max().unwrap_or(0);
        let end = last.max(within);
        apart.push((*place, end));
        if last != 0 {
            ends.push((header, end));
        }
    }
    ends.sort_unstable_by_key(|(_, last)| Reverse(*last));
    ends
}

#[cfg(test)]
mod tests;
