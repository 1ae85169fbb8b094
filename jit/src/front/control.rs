// SPDX-License-Identifier: GPL-2.0-only
//! Blocks, loops, branches: Wasm's structure becomes blocks and jumps.
//!
//! What each event does:
//!
//! | event | operand stack | what is known of locals | reachability, fuel |
//! |---|---|---|---|
//! | `block` | settled; parameters stay where they are | stays | goes on, in the same region |
//! | `loop` | settled; parameters are copied to variables of the loop's, which each branch back assigns to | nothing: a round may have changed any local | a region: paid for in each round |
//! | `if` | the condition is taken off, the rest settled; parameters are there once more for `else` | stays, in both branches | a region for each branch |
//! | `else` | what `then` left goes to the results' variables; parameters are back | what it was at `if` | reachable, as `if` was; a region |
//! | `end`, a way leads to it besides the one through its last operator | values go to the results' variables, which replace all above the frame's height | nothing: ways may differ | reachable; the outer region pays on |
//! | `end`, only that one leads to it | as it is | stays | reachable; the outer region pays on |
//! | `end`, no way leads to it | does not matter | does not matter | nothing is reachable; see below |
//! | `br` | values on top are copied to the target's variables | does not matter | nothing is reachable |
//! | `br_if` | the condition is taken off; where it branches, values are copied as by `br`; else they stay | stays, both ways | goes on, in the same region |
//! | `br_table` | the index is taken off; values are copied as by `br`, once for each label | does not matter | nothing is reachable |
//! | `return` | values on top are read | does not matter | nothing is reachable |
//! | `unreachable` | does not matter | does not matter | nothing is reachable |
//! | a trap of an operator | as if it did not trap | a check has passed; a store, a call or a division is an effect | goes on: also behind an operator that always traps |
//!
//! - Settled: values that are locals become variables of their own ([`Builder::settle`]), since the local may
//!   change on one side of a branch.
//! - Known is what was checked of a local, its native addresses, its bound, and which constant it is
//!   (`memory.rs`). It is forgotten when the local changes, too. Where a block begins, and at an effect, checks
//!   can no longer be raised ([`Known::effect`]): a trap would come before what the block did. Bounds of other
//!   variables hold for ever: these are written in one way (`bounds.rs`).
//! - A region is the function, a loop, or a branch of an `if`. It pays, when it is entered, for all of its
//!   operators that can be reached and are in no region within. So a trap in the middle, or a branch, gives
//!   nothing back; both tiers count alike.
//! - Where nothing is reachable, operators are passed over, and cost nothing ([`Builder::skip`]): up to the
//!   `else` of a frame that could be reached, or to an `end` that another way leads to. The way may be a
//!   branch, or an `if` that has no `else`. To the end of a loop there is none but the one through its last
//!   operator, as branches lead to its beginning.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use nf_wasm_shared::abi::trap::Trap;
use wasmparser::{BlockType, BrTable};

use super::known::Known;
use super::{Builder, Result};
use crate::ir::{Block, BlockId, Compare, End, Op, Value, Var};

/// What a frame of the control stack is.
#[derive(Debug)]
enum Kind {
    /// The function itself: a branch to it returns.
    Function,
    Block,
    Loop {
        /// Where the loop begins in the order of blocks.
        start: u32,
    },
    If {
        otherwise: BlockId,
        /// Its parameters, once more for the other branch.
        params: Vec<Value>,
        /// What is known where it branches.
        known: Known,
    },
    Else,
}

/// A frame of the control stack.
#[derive(Debug)]
pub(super) struct Frame {
    kind: Kind,
    /// Where a branch to it leads, and the variables that a branch leaves its values in.
    target: BlockId,
    targets: Vec<Var>,
    /// What follows it, and its results.
    end: BlockId,
    results: Vec<Var>,
    /// Values on the stack below it.
    height: usize,
    /// The block that pays for it.
    region: BlockId,
    /// There is a way to its end besides the one through its last operation.
    reached: bool,
}

impl Builder<'_, '_> {
    /// Begins the function.
    pub(super) fn enter(&mut self) {
        let entry = self.new_block();
        let results = self.new_vars(self.function.results as usize);
        self.frames.push(Frame {
            kind: Kind::Function,
            target: entry,
            targets: Vec::new(),
            end: entry,
            results,
            height: 0,
            region: entry,
            reached: false,
        });
        self.place_block(entry);
        self.known = Known::default();
    }

    /// The block that pays for what comes.
    pub(super) fn region(&self) -> BlockId {
        self.frames.last().map_or(0, |frame| frame.region)
    }

    pub(super) fn new_block(&mut self) -> BlockId {
        self.function.blocks.push(Block {
            fuel: 0,
            ops: Vec::new(),
            // Until it has another.
            end: End::Trap(Trap::Unreachable),
            depth: self.loops,
        });
        self.function.blocks.len() as BlockId - 1
    }

    /// What comes goes to `block`.
    fn place_block(&mut self, block: BlockId) {
        self.current = block;
        self.reachable = true;
        self.function.order.push(block);
        self.function.blocks[block as usize].depth = self.loops;
        self.known.effect();
        self.enter_pointers(block);
    }

    /// Ends the current block. What follows cannot be reached, unless another block is placed.
    fn end_block(&mut self, end: End) {
        self.function.blocks[self.current as usize].end = end;
        self.reachable = false;
    }

    pub(super) fn trap(&mut self, trap: Trap) {
        self.end_block(End::Trap(trap));
    }

    /// Parameters and results of a block.
    fn arity(&self, ty: BlockType) -> (usize, usize) {
        match ty {
            BlockType::Empty => (0, 0),
            BlockType::Type(_) => (0, 1),
            BlockType::FuncType(index) => {
                let ty = &self.module.types[index as usize];
                (ty.params().len(), ty.results().len())
            }
        }
    }

    /// Gives each value on the stack that is a local's a variable of its own: on the other side of a
    /// branch the local may have changed.
    fn settle_stack(&mut self) {
        for at in self.settled.min(self.stack.len())..self.stack.len() {
            self.settle(at);
        }
        self.settled = self.stack.len();
    }

    /// The same for the value at `at`.
    pub(super) fn settle(&mut self, at: usize) {
        if let Value::Var(local) = self.stack[at] {
            if local < self.function.locals {
                let to = self.new_var();
                let copy = Op::Copy {
                    to,
                    from: Value::Var(local),
                };
                self.note_pointer(to, &copy);
                self.emit(copy);
                self.stack[at] = Value::Var(to);
            }
        }
    }

    pub(super) fn block(&mut self, ty: BlockType) {
        self.settle_stack();
        let (params, results) = self.arity(ty);
        let end = self.new_block();
        let results = self.new_vars(results);
        let frame = Frame {
            kind: Kind::Block,
            target: end,
            targets: results.clone(),
            end,
            results,
            height: self.stack.len() - params,
            region: self.region(),
            reached: false,
        };
        self.frames.push(frame);
    }

    pub(super) fn begin_loop(&mut self, ty: BlockType) {
        self.settle_stack();
        let (params, results) = self.arity(ty);
        let height = self.stack.len() - params;
        let carried = self.new_vars(params);
        self.assign(&carried, height);
        self.function.carried.extend(&carried);
        self.stack.truncate(height);
        self.stack
            .extend(carried.iter().map(|var| Value::Var(*var)));
        // Its end is outside.
        let end = self.new_block();
        self.loops += 1;
        let header = self.new_block();
        self.end_block(End::Jump(header));
        let start = self.function.order.len() as u32;
        self.place_block(header);
        self.known = Known::default();
        let results = self.new_vars(results);
        self.frames.push(Frame {
            kind: Kind::Loop { start },
            target: header,
            targets: carried,
            end,
            results,
            height,
            region: header,
            reached: false,
        });
        self.pay(1);
    }

    pub(super) fn begin_if(&mut self, ty: BlockType) {
        let compare = self.pop_condition();
        self.settle_stack();
        let (params, results) = self.arity(ty);
        let height = self.stack.len() - params;
        let (then, otherwise, end) = (self.new_block(), self.new_block(), self.new_block());
        self.end_block(End::Branch {
            compare,
            then,
            otherwise,
        });
        let results = self.new_vars(results);
        let known = self.known.clone();
        self.place_block(then);
        self.frames.push(Frame {
            kind: Kind::If {
                otherwise,
                params: self.stack[height..].to_vec(),
                known,
            },
            target: end,
            targets: results.clone(),
            end,
            results,
            height,
            region: then,
            reached: false,
        });
        self.pay(1);
    }

    pub(super) fn begin_else(&mut self) {
        let Some(mut frame) = self.frames.pop() else {
            return;
        };
        frame.reached |= self.reachable;
        self.leave(&frame);
        if let Kind::If {
            otherwise,
            params,
            known,
        } = core::mem::replace(&mut frame.kind, Kind::Else)
        {
            self.stack.truncate(frame.height);
            self.stack.extend(params);
            self.known = known;
            self.place_block(otherwise);
            frame.region = otherwise;
        }
        self.frames.push(frame);
        self.pay(1);
    }

    /// Ends a frame. Returns whether it was the function's.
    pub(super) fn end(&mut self) -> bool {
        let Some(mut frame) = self.frames.pop() else {
            return true;
        };
        let is_loop = matches!(frame.kind, Kind::Loop { .. });
        match core::mem::replace(&mut frame.kind, Kind::Block) {
            Kind::Function => {
                if self.reachable {
                    self.give_back();
                }
                return true;
            }
            Kind::Loop { start } => {
                self.loops -= 1;
                let end = self.function.order.len() as u32;
                self.function.loops.push((start, end));
            }
            Kind::If {
                otherwise, params, ..
            } => {
                // The branch that is not there hands its parameters on.
                frame.reached = true;
                self.leave(&frame);
                self.stack.truncate(frame.height);
                self.stack.extend(params);
                self.place_block(otherwise);
                self.leave(&frame);
            }
            Kind::Block | Kind::Else => {}
        }
        if !frame.reached {
            // One way leads on, if any: as it is, but not in the loop any more.
            if is_loop && self.reachable {
                let next = self.new_block();
                self.end_block(End::Jump(next));
                self.place_block(next);
            }
            return false;
        }
        self.leave(&frame);
        self.stack.truncate(frame.height);
        let results = frame.results.iter().map(|var| Value::Var(*var));
        self.stack.extend(results);
        self.known = Known::default();
        self.place_block(frame.end);
        false
    }

    /// Goes from the end of a frame's last operation to what follows the frame.
    fn leave(&mut self, frame: &Frame) {
        if self.reachable {
            self.assign(&frame.results, self.stack.len() - frame.results.len());
            self.end_block(End::Jump(frame.end));
        }
    }

    /// Assigns the stack's values from `at` on to variables, all at once.
    fn assign(&mut self, to: &[Var], at: usize) {
        self.taken_along += to.len();
        let mut values: Vec<Value> = self.stack[at..at + to.len()].to_vec();
        // They were made one after the other.
        let range = to.first().copied().unwrap_or(0)..=to.last().copied().unwrap_or(0);
        debug_assert!(to.iter().all(|var| range.contains(var)));
        let is_in_the_way = |value: &Value| matches!(value, Value::Var(var) if range.contains(var));
        if to.len() > 1 && values.iter().any(is_in_the_way) {
            for value in &mut values {
                let copy = self.new_var();
                self.emit(Op::Copy {
                    to: copy,
                    from: *value,
                });
                *value = Value::Var(copy);
            }
        }
        for (to, from) in to.iter().zip(values) {
            if from != Value::Var(*to) {
                let copy = Op::Copy { to: *to, from };
                self.note_pointer_on_a_way(*to, &copy);
                self.emit(copy);
            }
        }
    }

    fn frame_at(&mut self, depth: u32) -> &mut Frame {
        let at = self.frames.len() - 1 - depth as usize;
        &mut self.frames[at]
    }

    /// The block that a branch goes to, which takes its values there on the way. Places a block for
    /// that, if there are any: what came before has to have ended.
    fn edge(&mut self, depth: u32) -> BlockId {
        let frame = self.frame_at(depth);
        let is_function = matches!(frame.kind, Kind::Function);
        let (target, targets) = (frame.target, frame.targets.clone());
        frame.reached |= !matches!(frame.kind, Kind::Loop { .. });
        if targets.is_empty() && !is_function {
            return target;
        }
        let edge = self.new_block();
        self.place_block(edge);
        self.branch_from_here(depth);
        edge
    }

    /// Goes to a frame's target.
    fn branch_from_here(&mut self, depth: u32) {
        let frame = self.frame_at(depth);
        if matches!(frame.kind, Kind::Function) {
            return self.give_back();
        }
        frame.reached |= !matches!(frame.kind, Kind::Loop { .. });
        let (target, targets) = (frame.target, frame.targets.clone());
        self.assign(&targets, self.stack.len() - targets.len());
        self.end_block(End::Jump(target));
    }

    pub(super) fn branch(&mut self, depth: u32) {
        self.branch_from_here(depth);
    }

    pub(super) fn branch_if(&mut self, depth: u32) {
        let compare = self.pop_condition();
        self.branch_where(compare, depth);
    }

    fn branch_where(&mut self, compare: Compare, depth: u32) {
        // Where values are taken along, stack values that are locals stay what they are: neither way
        // changes them.
        let from = self.current;
        let known = self.known.clone();
        self.reachable = false;
        let then = self.edge(depth);
        let otherwise = self.new_block();
        self.function.blocks[from as usize].end = End::Branch {
            compare,
            then,
            otherwise,
        };
        self.known = known;
        self.place_block(otherwise);
    }

    pub(super) fn branch_table(&mut self, table: &BrTable<'_>) -> Result<()> {
        let index = self.pop();
        let from = self.current;
        let known = self.known.clone();
        self.reachable = false;
        let mut edges: BTreeMap<u32, BlockId> = BTreeMap::new();
        self.work.take(table.len() as usize)?;
        let mut targets = Vec::with_capacity(table.len() as usize + 1);
        for depth in table.targets().chain([Ok(table.default())]) {
            let depth = depth?;
            let edge = match edges.get(&depth) {
                Some(edge) => *edge,
                None => {
                    self.known = known.clone();
                    let edge = self.edge(depth);
                    edges.insert(depth, edge);
                    edge
                }
            };
            targets.push(edge);
        }
        let blocks = edges.into_values().collect();
        self.function.blocks[from as usize].end = End::Table {
            index,
            targets,
            blocks,
        };
        self.reachable = false;
        Ok(())
    }

    /// Returns the values on top of the stack.
    pub(super) fn give_back(&mut self) {
        let results = self.function.results as usize;
        let at = self.stack.len() - results;
        let values = self.stack[at..].to_vec();
        let range = self.keep(&values);
        self.end_block(End::Return(range));
    }
}

#[cfg(test)]
mod tests {
    use crate::ir::End;
    use crate::testing::build;
    use std::vec::Vec;

    #[test]
    fn each_region_pays_for_its_own_operators() {
        let function = build(
            "(if (local.get 0)
               (then (drop (i32.const 1)))
               (else (loop (br_if 0 (local.get 1)))))
             (i32.const 1)",
        );
        let fuel = function.blocks.iter().map(|block| block.fuel);
        let fuel: Vec<u32> = fuel.filter(|fuel| *fuel > 0).collect();
        // The function: itself, its frame of ten slots, local.get, if, i32.const. Then: itself, a
        // constant. Else: itself. The loop: itself, local.get, br_if.
        assert_eq!(fuel, [5, 2, 1, 3]);
    }

    #[test]
    fn loops_come_back_to_where_they_begin() {
        let function = build("(loop (br_if 0 (local.get 0))) (i32.const 1)");
        let [(start, end)] = function.loops[..] else {
            panic!("one loop");
        };
        let header = function.order[start as usize];
        let last = function.order[start as usize..end as usize].iter();
        let comes_back = last.filter(|block| {
            let end = &function.blocks[**block as usize].end;
            matches!(end, End::Branch { then, .. } if *then == header)
        });
        assert_eq!(comes_back.count(), 1);
    }
}
