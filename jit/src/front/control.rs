// SPDX-License-Identifier: GPL-2.0-only
//! Translates Wasm's structured control flow to blocks and jumps.
//!
//! The effect of each event:
//!
//! | event | operand stack | known facts | reachability, fuel |
//! |---|---|---|---|
//! | `block` | settled; parameters stay on the stack | kept | reachable; the same region |
//! | `loop` | settled; parameters are copied to variables of the loop, to which each branch back assigns | cleared: a round may change any local | reachable; a region that pays in each round |
//! | `if` | the condition is popped, the rest settled; parameters are saved for `else` | kept in both branches | reachable; a region for each branch |
//! | `else` | the results of `then` are copied to the results' variables; parameters are restored | as at `if` | reachable, because `if` was; a region |
//! | `end`, if a branch or a missing `else` leads to it | values are copied to the results' variables, which replace everything above the frame's height | cleared: paths may differ | reachable; the outer region |
//! | `end`, if only the operator before it leads to it | kept | kept | reachable; the outer region
//! |
//! | `end`, if it cannot be reached | any | any | unreachable; see below |
//! | `br` | the top values are copied to the target's variables | any | unreachable |
//! | `br_if` | the condition is popped; if it branches, values are copied as for `br`; else they stay | kept on both paths | reachable; the same region |
//! | `br_table` | the index is popped; values are copied as for `br`, once for each label | any | unreachable |
//! | `return` | the top values are read | any | unreachable |
//! | `unreachable` | any | any | unreachable |
//! | an operator that may trap | as if it did not trap | a check that has passed is a new fact; a
//! store, a call or a division is an effect, see below | reachable, even after an operator that
//! always traps |
//!
//! - To settle the stack means to copy values that are locals to variables of their own
//!   ([`Builder::settle`]), since the local may change on one side of a branch.
//! - Known facts are a local's checked extent, native addresses, bound and constant (`known.rs`).
//!   They are also cleared when the local changes. After an effect, and when a block begins,
//!   earlier checks can no longer be raised ([`Known::effect`]): the trap would come before effects
//!   that precede the access. Bounds of variables that are not locals stay, because these have one
//!   definition (`bounds.rs`).
//! - A region (of fuel, not of memory) is the function, a loop, or a branch of an `if`. On entry it
//!   pays for all its operators that can be reached and are not in an inner region. A trap or a
//!   branch in the middle refunds nothing. Both tiers charge alike.
//! - Unreachable operators are skipped, and cost nothing ([`Builder::skip`]). This ends at the
//!   `else` of a reachable `if`, or at an `end` to which a branch or an `if` without an `else`
//!   leads. The end of a loop can only be reached through its last operator, because branches lead
//!   to its beginning.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use nf_wasm_shared::abi::trap::Trap;

use super::known::Known;
use super::{Builder, Result};
use crate::ir::{Block, BlockId, Compare, End, Op, Value, Var};
use crate::reader::{BlockType, Targets};

/// The kind of a frame of the control stack.
#[derive(Debug)]
enum Kind {
    /// The function itself: a branch to it returns.
    Function,
    Block,
    Loop {
        /// The loop's first index in the order of blocks.
        start: u32,
    },
    If {
        otherwise: BlockId,
        /// Its parameters, saved for the other branch.
        params: Vec<Value>,
        /// The facts that are known where it branches.
        known: Known,
    },
    Else,
}

/// A frame of the control stack.
#[derive(Debug)]
pub(super) struct Frame {
    kind: Kind,
    /// The block that a branch leads to, and the variables that a branch assigns its values to.
    target: BlockId,
    targets: Vec<Var>,
    /// The block after it, and the variables of its results.
    end: BlockId,
    results: Vec<Var>,
    /// Values on the stack below it.
    height: usize,
    /// The block that pays for it.
    region: BlockId,
    /// Whether its end can be reached other than through its last operator.
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

    /// The block that pays for the next operators.
    pub(super) fn region(&self) -> BlockId {
        self.frames.last().map_or(0, |frame| frame.region)
    }

    pub(super) fn new_block(&mut self) -> BlockId {
        let ops = self.function.spare.pop().unwrap_or_default();
        self.function.blocks.push(Block {
            fuel: 0,
            ops,
            // A placeholder.
            end: End::Trap(Trap::Unreachable),
            depth: self.loops,
        });
        self.function.blocks.len() as BlockId - 1
    }

    /// Continues in `block`.
    fn place_block(&mut self, block: BlockId) {
        self.current = block;
        self.reachable = true;
        self.function.order.push(block);
        self.function.blocks[block as usize].depth = self.loops;
        self.known.effect();
        self.enter_pointers(block);
    }

    /// Ends the current block. The next operators are unreachable, unless another block is placed.
    fn end_block(&mut self, end: End) {
        self.function.blocks[self.current as usize].end = end;
        self.reachable = false;
    }

    pub(super) fn trap(&mut self, trap: Trap) {
        self.end_block(End::Trap(trap));
    }

    /// Numbers of parameters and results of a block.
    fn arity(&self, ty: BlockType) -> (usize, usize) {
        match ty {
            BlockType::Empty => (0, 0),
            BlockType::Result => (0, 1),
            BlockType::Function(index) => {
                let ty = &self.module.types[index as usize];
                (ty.params().len(), ty.results().len())
            }
        }
    }

    /// Copies each value on the stack that is a local to a variable of its own: the local may
    /// change on one side of a branch.
    fn settle_stack(&mut self) {
        for at in self.settled.min(self.stack.len())..self.stack.len() {
            self.settle(at);
        }
        self.settled = self.stack.len();
    }

    /// As [`Self::settle_stack`], for the value at `at`.
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
        self.pay();
        self.settle_stack();
        let (params, results) = self.arity(ty);
        let height = self.stack.len() - params;
        let carried = self.new_vars(params);
        self.assign(&carried, height);
        self.function.carried.extend(&carried);
        self.stack.truncate(height);
        self.stack
            .extend(carried.iter().map(|var| Value::Var(*var)));
        // The block after the loop is not in the loop.
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
        self.unpaid = 1;
    }

    pub(super) fn begin_if(&mut self, ty: BlockType) {
        self.pay();
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
        self.unpaid = 1;
    }

    pub(super) fn begin_else(&mut self) {
        self.pay();
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
        self.unpaid = 1;
    }

    /// Ends a frame. Returns whether it was that of the function.
    pub(super) fn end(&mut self) -> bool {
        self.pay();
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
                // The missing `else` passes its parameters on as results.
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
            // At most the last operator leads here. After a loop this takes a new block, outside of
            // it.
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

    /// Jumps from the last operator of a frame to the block after the frame.
    fn leave(&mut self, frame: &Frame) {
        if self.reachable {
            self.assign(&frame.results, self.stack.len() - frame.results.len());
            self.end_block(End::Jump(frame.end));
        }
    }

    /// Assigns the stack's values from `at` on to variables, in parallel.
    fn assign(&mut self, to: &[Var], at: usize) {
        self.taken_along += to.len();
        let mut values: Vec<Value> = self.stack[at..at + to.len()].to_vec();
        // The variables have consecutive numbers.
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

    /// The block that a branch goes to. If the branch has values, this is a new block that assigns
    /// them and jumps to the target. The current block must have ended.
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

    /// Branches to a frame's target.
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
        // The stack need not be settled: neither path changes a local before its value is copied.
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

    pub(super) fn branch_table(&mut self, table: &Targets<'_>) -> Result<()> {
        let index = self.pop();
        let from = self.current;
        let known = self.known.clone();
        self.reachable = false;
        let mut edges: BTreeMap<u32, BlockId> = BTreeMap::new();
        let len = table.len();
        self.work.take(len)?;
        let mut targets = Vec::with_capacity(len + 1);
        for depth in table.depths() {
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
        let range = self.keep(self.stack.len() - results);
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
        // The function pays for itself, its frame of ten slots, local.get, if, i32.const. `then`
        // pays for itself and a constant, `else` for itself, the loop for itself, local.get, br_if.
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
