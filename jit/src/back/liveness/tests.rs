// SPDX-License-Identifier: GPL-2.0-only
//! Compares intervals with those of a simpler algorithm.

use std::collections::BTreeSet;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::{liveness, within, Interval, Ops, FIRST, MAX_ROUNDS};
use crate::front;
use crate::ir::{Function, Op, Var};
use crate::testing::{build, environment, parse, wasm, work};

#[test]
fn a_value_lives_from_its_write_to_its_last_read() {
    let mut function = build("(local.set 3 (i32.mul (local.get 0) (local.get 1))) (local.get 3)");
    let liveness = liveness(&mut function, true, &work()).unwrap();
    // Parameters live from the start. The code is one multiplication and the return.
    let Interval { start, end, .. } = liveness.intervals[0];
    assert_eq!((start, end), (1, 2));
    // The value has a variable of its own.
    let Interval { start, end, .. } = liveness.intervals[function.vars as usize - 1];
    assert_eq!((start, end), (3, 4));
    assert!(liveness.intervals[2].is_empty() && liveness.intervals[3].is_empty());
    assert!(liveness.intervals[4].is_empty() && liveness.zeroed.is_empty());
}

#[test]
fn values_of_one_local_are_apart_unless_other_blocks_read_them() {
    let store = "(i32.store (i32.const 0) (i32.mul (local.get 3) (local.get 3)))";
    let set = "(local.set 3 (i32.mul (local.get 0) (local.get 1)))";
    // The last value is read after the block, and together with the zero of the missing `else`.
    let body = format!("(if (local.get 2) (then {set} {store} {set} {store} {set})) (local.get 3)");
    let mut function = build(&body);
    let before = function.vars;
    let liveness = liveness(&mut function, true, &work()).unwrap();
    let [first, second] = [before, before + 1].map(|var| liveness.intervals[var as usize]);
    assert_eq!(function.vars, before + 2);
    assert!(first.end < second.start && second.end < liveness.intervals[3].end);
    assert_eq!((liveness.intervals[3].start, liveness.zeroed), (1, vec![3]));
    // Without names of their own, they are one.
    let liveness = super::liveness(&mut build(&body), false, &work()).unwrap();
    assert_eq!(liveness.intervals.len(), before as usize);
}

#[test]
fn what_nobody_reads_is_dead() {
    let set = "(local.set 3 (i32.load (local.get 0)))";
    let mut function = build(&format!("{set} {set} (local.get 3)"));
    let liveness = liveness(&mut function, true, &work()).unwrap();
    let ops = crate::testing::ops(&function);
    let dead: Vec<_> = ops
        .iter()
        .zip(FIRST..)
        .filter(|(_, at)| liveness.dead.has(*at))
        .collect();
    // A check may trap. The address is used by both loads.
    assert!(matches!(dead[..], [(Op::Load { .. }, _)]), "{dead:?}");
}

#[test]
fn what_is_carried_around_a_loop_lives_in_all_of_it() {
    let mut function = build(
        "(loop
           (local.set 3 (i32.add (local.get 3) (local.get 0)))
           (local.set 4 (i32.mul (local.get 0) (local.get 1)))
           (br_if 0 (i32.lt_u (local.get 4) (local.get 1))))
         (local.get 3)",
    );
    let liveness = liveness(&mut function, true, &work()).unwrap();
    // Local 3 begins as zero, and the return reads it last. Local 4 is written in each round.
    assert_eq!(liveness.zeroed, [3]);
    let of_round = function.vars as usize - 1;
    let (sum, round) = (liveness.intervals[3], liveness.intervals[of_round]);
    assert!(sum.start < round.start && round.end < sum.end);
    // The loop reads the parameter, and does not write it.
    assert!(liveness.intervals[0].end >= round.end);
}

/// Computes the intervals by iterating over all blocks until nothing changes.
fn by_rounds(function: &Function, dead: &Ops) -> Vec<Interval> {
    let mut intervals = vec![Interval::EMPTY; function.vars as usize];
    let mut inside: Vec<BTreeSet<Var>> = vec![BTreeSet::new(); function.blocks.len()];
    loop {
        let before = inside.clone();
        let mut at = FIRST;
        for id in function.order.iter().map(|it| *it as usize) {
            let block = &function.blocks[id];
            let end = at + block.ops.len() as u32;
            let mut live = BTreeSet::new();
            block
                .end
                .successors(|next| live.extend(&before[next as usize]));
            for var in &live {
                intervals[*var as usize].cover(2 * end + 1);
            }
            let mut read = |live: &mut BTreeSet<Var>, var, at| {
                live.insert(var);
                intervals[var as usize].cover(2 * at);
            };
            block
                .end
                .reads(&function.values, |var| read(&mut live, var, end));
            let mut writes = Vec::new();
            for (op, at) in block
                .ops
                .iter()
                .zip(at..)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
            {
                let (to, count) = op.writes();
                if dead.has(at) {
                    assert!(count == 1 && !live.contains(&to), "{op:?} is read");
                    continue;
                }
                for var in to..to + count {
                    live.remove(&var);
                    writes.push((var, at));
                }
                op.uses()
                    .reads(&function.values, |var| read(&mut live, var, at));
            }
            for (var, at) in writes {
                intervals[var as usize].cover(2 * at + 1);
            }
            for var in &live {
                intervals[*var as usize].cover(2 * at);
            }
            inside[id] = live;
            at = end + 1;
        }
        if inside == before {
            return intervals;
        }
    }
}

/// Number of intervals that are longer than necessary, if propagation along back edges stops after
/// `rounds` rounds, and there are no dead operations, whose reads count in other blocks. Checks
/// that none is shorter.
fn longer(mut function: Function, rounds: usize) -> usize {
    let found = within(&mut function, rounds, true, &work()).unwrap();
    let vars = (0..).zip(
        found
            .intervals
            .iter()
            .zip(by_rounds(&function, &found.dead)),
    );
    let is_exact = !found.dead.is_any();
    let longer = vars.filter(|(var, (found, needed))| {
        assert!(found.start <= needed.start, "{var}: {found:?} {needed:?}");
        assert!(found.end >= needed.end, "{var}: {found:?} {needed:?}");
        found.end > needed.end && is_exact
    });
    longer.count()
}

/// Nested loops, each with a local. The back edge to each is in the next loop.
fn nested_loops(depth: u32) -> String {
    let begins = (0..depth).map(|level| {
        let local = 3 + level % 2;
        format!(
            "(loop (br_if 1 (local.get 1))
               (local.set {local} (i32.add (local.get {local}) (i32.const 1)))"
        )
    });
    let ends = ")".repeat(depth as usize + 1);
    format!("(block {} {ends}", begins.collect::<String>())
}

/// A loop with a back edge in a later inner loop, which may repeat before.
const FAR_BACK: &str = "(loop (local.set 4 (local.get 2)) (loop (loop (br_if 2 (local.get 0))
    (local.set 3 (i32.add (local.get 3) (i32.const 1))) (br_if 0 (local.get 1)))))";

/// Nested loops, each of which reads a local of its own. The innermost branches to all of them.
/// They use up the rounds.
#[test]
fn what_is_not_found_for_want_of_rounds_is_guessed() {
    for depth in [40, 60, 100] {
        let begins = (0..depth).map(|level| {
            let local = 5 + level;
            format!("(loop (local.set 4 (i32.add (local.get {local}) (local.get 4)))")
        });
        let targets = (0..depth).map(|level| format!("{level} "));
        let function = lone_with(
            depth,
            &format!(
                "{FAR_BACK} {} (br_table {} (local.get 1)) {} (local.get 3)",
                begins.collect::<String>(),
                targets.collect::<String>(),
                ")".repeat(depth)
            ),
        );
        longer(function.clone(), MAX_ROUNDS);
    }
}

/// As [`build`], with `locals` more locals.
fn lone_with(locals: usize, body: &str) -> Function {
    let more = "i32 ".repeat(locals);
    let wasm = wasm(&format!(
        "(func (export \"f\") (param i32 i32 i32) (result i32) (local i32 i32 {more}) {body})"
    ));
    front::build(&parse(&wasm), 0, &environment(), &[], None, &work()).expect("a function")
}

#[test]
fn what_comes_back_is_found_or_guessed() {
    for body in [
        nested_loops(9).as_str(),
        // Written in a loop, and read in the next round of the outer loop.
        "(loop (local.set 4 (local.get 3)) (loop (br_if 1 (local.get 4)) (br_if 0 (local.get 0)))
           (local.set 3 (i32.const 7)) (br_if 0 (local.get 1)))",
        "(block (loop (br_table 0 1 0 (local.get 1)))) (local.set 3 (i32.const 2))
         (loop (br_if 0 (local.get 3)))",
        // No variable is live from the inner loop to the outer one.
        "(loop (local.set 3 (local.get 0)) (br_if 0 (local.get 3)) (loop (local.set 4 (local.get 1))
           (br_if 1 (local.get 4)) (br_if 0 (local.get 4))))",
        // The back edge to the first loop is in the third one, after the second one, which has
        // none.
        FAR_BACK,
    ] {
        let function = build(&format!("{body} (local.get 3)"));
        assert_eq!(longer(function.clone(), MAX_ROUNDS), 0, "{body}");
        longer(function.clone(), 0);
    }
}

/// A pseudorandom number generator.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((self.0 >> 33) % u64::from(end)) as u32
    }

    /// Statements in `frames` nested frames, each of which may be a branch target.
    fn statements(&mut self, frames: u32) -> String {
        let count = 1 + self.below(4);
        (0..count).map(|_| self.statement(frames)).collect()
    }

    fn statement(&mut self, frames: u32) -> String {
        let [a, b, c] = [(); 3].map(|()| self.below(5));
        let kind = if frames == 5 { 4 } else { 9 };
        match self.below(kind) {
            1 if frames > 0 => format!("(br_if {} (local.get {a}))", self.below(frames)),
            2 if frames > 0 && c == 0 => {
                let targets: Vec<String> =
                    (0..4).map(|_| format!("{} ", self.below(frames))).collect();
                format!("(br_table {} (local.get {a}))", targets.concat())
            }
            0..4 => format!("(local.set {a} (i32.add (local.get {b}) (local.get {c})))"),
            4 | 5 => format!("(block {})", self.statements(frames + 1)),
            6 | 7 => format!("(loop {})", self.statements(frames + 1)),
            _ => format!(
                "(if (local.get {a}) (then {}) (else {}))",
                self.statements(frames + 1),
                self.statements(frames + 1)
            ),
        }
    }
}

/// Number of generated functions.
const MAX_SHAPES: u32 = 1_000;

#[test]
fn functions_of_all_shapes_agree() {
    let mut random = Random(15);
    let mut loops = 0;
    for _ in 0..MAX_SHAPES {
        let body = random.statements(0);
        let function = build(&format!("{body} (local.get 3)"));
        assert_eq!(longer(function.clone(), MAX_ROUNDS), 0, "{body}");
        // Without rounds intervals may be longer, but not shorter.
        longer(function.clone(), 0);
        loops += usize::from(function.loops.len() > 1);
    }
    assert!(loops > 30, "{loops}");
}
