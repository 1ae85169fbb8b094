// SPDX-License-Identifier: GPL-2.0-only
//! Generates blocks, loops and branches with values.

use arbitrary::Result;
use nf_wasm_shared::abi::limits;
use wasm_encoder::{BlockType, ValType};
use ValType::{I32, I64};

use super::shape::list;
use super::{Body, COUNTERS, DEPTH};

/// The target of a branch.
pub(super) struct Label {
    /// Types of the values that a branch takes along.
    takes: Vec<ValType>,
    /// The label is of a loop that would be endless if branches went to it at random.
    is_endless: bool,
}

impl Label {
    /// The label at the end of a frame with these results.
    pub(super) fn end(results: &[ValType]) -> Self {
        Self {
            takes: results.to_vec(),
            is_endless: false,
        }
    }
}

impl Body<'_, '_, '_> {
    fn block_type(&mut self, params: &[ValType], results: &[ValType]) -> BlockType {
        match (params, results) {
            ([], []) => BlockType::Empty,
            ([], [ty]) => BlockType::Result(*ty),
            _ => BlockType::FunctionType(self.types.block(params, results)),
        }
    }

    /// Depths of the labels for which `is_wanted` holds. Labels of endless loops are seldom among
    /// them.
    fn labels_where(&mut self, is_wanted: impl Fn(&Label) -> bool) -> Result<Vec<u32>> {
        let endless_too = self.pick(31)? == 31;
        let labels = self.labels.iter().rev().zip(0..);
        Ok(labels
            .filter(|(label, _)| is_wanted(label) && (endless_too || !label.is_endless))
            .map(|(_, depth)| depth)
            .collect())
    }

    /// A label to which a branch takes no values.
    pub(super) fn label(&mut self) -> Result<Option<u32>> {
        let all = self.labels_where(|label| label.takes.is_empty())?;
        if all.is_empty() {
            return Ok(None);
        }
        Ok(Some(*self.u.choose(&all)?))
    }

    /// Any label, and the types of the values that a branch to it takes along.
    fn any_label(&mut self) -> Result<(u32, Vec<ValType>)> {
        // The function's own label is never endless, so there is at least one.
        let all = self.labels_where(|_| true)?;
        let depth = *self.u.choose(&all)?;
        let at = self.labels.len() - 1 - depth as usize;
        Ok((depth, self.labels[at].takes.clone()))
    }

    /// An `i32` that is often zero and often not.
    pub(super) fn condition(&mut self, depth: u32) -> Result<()> {
        self.value(I32, depth)?;
        match self.pick(3)? {
            0 => {}
            1 => {
                self.to.i32_const(1).i32_and();
            }
            2 => {
                self.to.i32_const(1).i32_shr_u().i32_const(2).i32_rem_u();
            }
            _ => {
                self.value(I32, depth)?;
                self.to.i32_lt_u();
            }
        }
        Ok(())
    }

    /// Pushes values of these types.
    pub(super) fn produce(&mut self, types: &[ValType], depth: u32) -> Result<()> {
        if types.len() > 1 && depth < DEPTH && self.left > 0 && self.pick(3)? == 0 {
            // Push some values first. A frame pushes the others.
            let fewest = types.len().saturating_sub(limits::RESULTS as usize);
            let below = self.u.int_in_range(fewest..=types.len() - 1)?;
            for ty in &types[..below] {
                self.value(*ty, depth)?;
            }
            return self.frame(&types[below..], depth);
        }
        for ty in types {
            self.value(*ty, depth)?;
        }
        Ok(())
    }

    /// Pops values of these types.
    pub(super) fn take_off(&mut self, types: &[ValType]) -> Result<()> {
        for (at, ty) in types.iter().enumerate().rev() {
            let is_pair = at > 0 && types[at - 1] == *ty;
            match self.pick(3)? {
                0 => {
                    self.to.drop();
                }
                1 if is_pair && *ty == I64 => {
                    self.to.i64_sub();
                }
                1 if is_pair => {
                    self.to.i32_sub();
                }
                _ => {
                    let local = self.local(*ty)?;
                    self.to.local_set(local);
                }
            }
        }
        Ok(())
    }

    /// Replaces the values `have` on the stack by values of the types `want`.
    fn convert(&mut self, have: &[ValType], want: &[ValType], depth: u32) -> Result<()> {
        let same = have.iter().zip(want).take_while(|(a, b)| a == b).count();
        let keep = match self.pick(3)? {
            0 => self.u.int_in_range(0..=same)?,
            _ => same,
        };
        self.take_off(&have[keep..])?;
        self.produce(&want[keep..], depth)
    }

    /// A block, loop or `if` that pushes values of these types.
    pub(super) fn frame(&mut self, results: &[ValType], depth: u32) -> Result<()> {
        let depth = depth + 1;
        let params = match self.pick(2)? {
            0 => list(self.u, 3)?,
            // A loop may then pass to its end the values that a branch brought back.
            1 => results.to_vec(),
            _ => Vec::new(),
        };
        match self.pick(4)? {
            0 | 1 => return self.loop_with_values(&params, results, depth),
            2 => {
                self.produce(&params, depth)?;
                self.condition(depth)?;
                let ty = self.block_type(&params, results);
                self.to.if_(ty);
                self.labels.push(Label::end(results));
                self.inside(&params, results, depth)?;
                if params != results || self.pick(1)? == 0 {
                    self.to.else_();
                    self.inside(&params, results, depth)?;
                }
            }
            _ => {
                self.produce(&params, depth)?;
                let ty = self.block_type(&params, results);
                self.to.block(ty);
                self.labels.push(Label::end(results));
                self.inside(&params, results, depth)?;
            }
        }
        self.labels.pop();
        self.to.end();
        Ok(())
    }

    /// The body of a frame: it begins with the values `have` and ends with the values `want`.
    fn inside(&mut self, have: &[ValType], want: &[ValType], depth: u32) -> Result<()> {
        self.statements(depth)?;
        let mut have = have.to_vec();
        if self.pick(1)? == 0 {
            self.leave_if(&mut have, depth)?;
        }
        if self.pick(7)? == 7 {
            return self.leave(depth);
        }
        self.convert(&have, want, depth)
    }

    /// A `br_if` with values. If it is not taken, they stay on top of `have`.
    fn leave_if(&mut self, have: &mut Vec<ValType>, depth: u32) -> Result<()> {
        let (label, takes) = self.any_label()?;
        // The values on the stack may already be the right ones.
        if !have.ends_with(&takes) || self.pick(1)? == 0 {
            self.produce(&takes, depth)?;
            have.extend(takes);
        }
        self.condition(depth)?;
        self.to.br_if(label);
        Ok(())
    }

    /// A `br_if` that leaves the stack unchanged if it is not taken.
    pub(super) fn try_to_leave(&mut self, depth: u32) -> Result<()> {
        let mut have = Vec::new();
        self.leave_if(&mut have, depth)?;
        self.take_off(&have)
    }

    /// Ends the block with a branch that is always taken: the code after it is unreachable.
    pub(super) fn leave(&mut self, depth: u32) -> Result<()> {
        match self.pick(7)? {
            0 => {
                let results = self.results;
                self.produce(results, depth)?;
                self.to.return_();
            }
            1 => {
                self.to.unreachable();
            }
            2 | 3 => {
                let (_, takes) = self.any_label()?;
                self.table_to(&takes, depth)?;
            }
            _ => {
                let (label, takes) = self.any_label()?;
                if self.pick(3)? == 0 {
                    // The branch leaves this value behind.
                    self.value(I64, depth)?;
                }
                self.produce(&takes, depth)?;
                self.to.br(label);
            }
        }
        if self.pick(1)? == 0 {
            self.dead(depth)?;
        }
        Ok(())
    }

    /// A `br_table` to labels that take these values.
    fn table_to(&mut self, takes: &[ValType], depth: u32) -> Result<()> {
        self.produce(takes, depth)?;
        let most = match self.pick(31)? {
            0 => 300,
            1..=8 => 40,
            _ => 6,
        };
        let count = self.u.int_in_range(0..=most)?;
        self.value(I32, depth)?;
        if self.pick(3)? != 0 {
            self.to.i32_const(count + 1).i32_rem_u();
        }
        let mut labels = self.labels_where(|label| label.takes == takes)?;
        if labels.is_empty() {
            // The only labels that take them are those of endless loops.
            labels = self.labels_where(|_| true)?;
            labels.retain(|depth| {
                self.labels[self.labels.len() - 1 - *depth as usize].takes == takes
            });
        }
        if labels.is_empty() {
            self.to.drop().unreachable();
            return Ok(());
        }
        let mut targets = Vec::new();
        for _ in 0..count {
            targets.push(*self.u.choose(&labels)?);
        }
        let default = *self.u.choose(&labels)?;
        self.to.br_table(targets, default);
        Ok(())
    }

    /// Nested blocks, with a `br_table` with values to their ends.
    pub(super) fn table(&mut self, depth: u32) -> Result<()> {
        let takes = match self.pick(1)? {
            0 => Vec::new(),
            _ => list(self.u, 3)?,
        };
        let blocks = self.u.int_in_range(1..=4)?;
        let ty = self.block_type(&[], &takes);
        for _ in 0..blocks {
            self.to.block(ty);
            self.labels.push(Label::end(&takes));
        }
        self.table_to(&takes, depth)?;
        if self.pick(3)? == 0 {
            self.dead(depth)?;
        }
        for _ in 0..blocks {
            self.labels.pop();
            self.to.end();
            self.statements(depth + 1)?;
            self.convert(&takes, &takes, depth + 1)?;
        }
        self.take_off(&takes)
    }

    /// Unreachable code: popping from its stack gives a value of any type.
    fn dead(&mut self, depth: u32) -> Result<()> {
        for _ in 0..self.u.int_in_range(1..=3)? {
            match self.pick(7)? {
                0 => {
                    self.to.i32_add().drop();
                }
                1 => {
                    self.to.select().drop();
                }
                2 => {
                    let local = self.local(I64)?;
                    self.to.i64_const(1).i64_mul().local_set(local);
                }
                3 => {
                    let (label, takes) = self.any_label()?;
                    self.to.br_if(label);
                    takes.iter().for_each(|_| {
                        self.to.drop();
                    });
                }
                4 => {
                    self.to.if_(BlockType::Empty);
                    self.labels.push(Label::end(&[]));
                    self.statements(depth + 1)?;
                    self.to.br(0).else_();
                    self.statements(depth + 1)?;
                    self.labels.pop();
                    self.to.end();
                }
                5 => {
                    let ty = self.block_type(&[I32], &[I64, I32]);
                    self.to.loop_(ty);
                    self.labels.push(Label {
                        takes: vec![I32],
                        is_endless: true,
                    });
                    self.to.br(0);
                    self.labels.pop();
                    self.to.end().drop().drop();
                }
                _ => self.statement(depth + 1)?,
            }
        }
        Ok(())
    }

    /// A loop with a limited number of rounds, unless code in its body branches to it.
    pub(super) fn rounds(&mut self, depth: u32) -> Result<()> {
        let counter = self.counter()?;
        self.to.block(BlockType::Empty).loop_(BlockType::Empty);
        self.labels.push(Label::end(&[]));
        self.labels.push(Label::end(&[]));
        self.to.local_get(counter).i32_eqz().br_if(1);
        self.to
            .local_get(counter)
            .i32_const(1)
            .i32_sub()
            .local_set(counter);
        self.statements(depth + 1)?;
        self.to.br(0);
        self.loops -= 1;
        self.labels.truncate(self.labels.len() - 2);
        self.to.end().end();
        Ok(())
    }

    /// A local for the remaining rounds of a loop, set to its first value.
    fn counter(&mut self) -> Result<u32> {
        let counter = self.locals.len() as u32 - COUNTERS + self.loops;
        let rounds = self.u.int_in_range(0..=9)?;
        self.to.i32_const(rounds).local_set(counter);
        self.loops += 1;
        Ok(counter)
    }

    /// A loop with parameters: values come from outside, and with each branch back.
    fn loop_with_values(
        &mut self,
        params: &[ValType],
        results: &[ValType],
        depth: u32,
    ) -> Result<()> {
        let counter = match self.loops < COUNTERS {
            true => Some(self.counter()?),
            // Without a counter, the loop does not branch back.
            false => None,
        };
        self.produce(params, depth)?;
        let ty = self.block_type(params, results);
        let is_guarded = counter.is_some() && self.pick(1)? == 0;
        if is_guarded {
            self.to.block(ty);
            self.labels.push(Label::end(results));
        }
        self.to.loop_(ty);
        self.labels.push(Label {
            takes: params.to_vec(),
            is_endless: !is_guarded,
        });
        if let (Some(counter), true) = (counter, is_guarded) {
            self.to.local_get(counter).i32_eqz();
            self.to.if_(BlockType::Empty);
            self.labels.push(Label::end(&[]));
            self.produce(results, DEPTH)?;
            self.labels.pop();
            self.to.br(2).end();
            self.to
                .local_get(counter)
                .i32_const(1)
                .i32_sub()
                .local_set(counter);
        }
        self.statements(depth)?;
        let mut have = params.to_vec();
        if self.pick(1)? == 0 {
            self.leave_if(&mut have, depth)?;
        }
        let ways = self.pick(7)?;
        match counter {
            Some(_) if is_guarded && ways < 3 => {
                self.convert(&have, params, depth)?;
                self.to.br(0);
                if ways == 0 {
                    self.dead(depth)?;
                }
            }
            Some(counter) if ways < 7 => {
                if self.pick(1)? == 0 || !have.ends_with(params) {
                    // The branch leaves the values below them behind.
                    self.produce(params, depth)?;
                    have.extend(params);
                }
                self.to
                    .local_get(counter)
                    .i32_const(1)
                    .i32_sub()
                    .local_tee(counter)
                    .i32_const(0)
                    .i32_gt_s()
                    .br_if(0);
                self.convert(&have, results, depth)?;
            }
            _ => self.convert(&have, results, depth)?,
        }
        self.labels.pop();
        self.to.end();
        if is_guarded {
            self.labels.pop();
            self.to.end();
        }
        if counter.is_some() {
            self.loops -= 1;
        }
        Ok(())
    }
}
