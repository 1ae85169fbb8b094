// SPDX-License-Identifier: GPL-2.0-only
//! Results that nobody reads, and those that are only read in the same block.

use alloc::vec;
use alloc::vec::Vec;

use super::{indices, Live, FIRST, WORDS_OF_A_STEP};
use crate::ir::{Function, Value, Var};
use crate::{Unsupported, Work};

/// A set of operations, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Ops(Vec<u64>);

impl Ops {
    pub(crate) fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    pub(crate) fn has(&self, op: u32) -> bool {
        let word = self.0.get(op as usize / 64).copied().unwrap_or(0);
        word & (1 << (op % 64)) != 0
    }

    fn insert(&mut self, op: u32) {
        let word = op as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (op % 64);
    }
}

/// Finds the operations whose results nobody reads, and those whose results, members of the sets,
/// are only read in the same block.
///
/// Walks backwards through the code. Readers of a variable that is no member come after the
/// operations that write it.
pub(super) fn uses(
    function: &Function,
    live: &Live,
    members: &[Var],
    work: &Work<'_>,
) -> Result<(Ops, Ops), Unsupported> {
    let index_of = indices(function, members);
    let (mut dead, mut closed) = (Ops::default(), Ops::default());
    let mut is_read = vec![false; function.vars as usize];
    let mut at = FIRST;
    for block in &function.order {
        at += 1 + function.blocks[*block as usize].ops.len() as u32;
    }
    // What is live here, and what is live at the block's end without being written from here on.
    let (mut here, mut leaves): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
    for block in function.order.iter().rev().map(|it| *it as usize) {
        let body = &function.blocks[block];
        for set in [&mut here, &mut leaves] {
            set.clear();
            set.extend_from_slice(live.outside.of(block));
        }
        work.take(1 + body.ops.len() + here.len() / WORDS_OF_A_STEP)?;
        let place_of = |var: Var| {
            let index = index_of[var as usize];
            (index != usize::MAX).then_some((index / 64, 1 << (index % 64)))
        };
        at -= 1;
        body.end.reads(&function.values, |var| {
            read(var, place_of, &mut here, &mut is_read);
        });
        for op in body.ops.iter().rev() {
            at -= 1;
            let uses = op.uses();
            let (to, count) = uses.writes;
            let (mut is_used, mut is_closed) = (false, count == 1);
            for var in to..to + count {
                let Some((word, bit)) = place_of(var) else {
                    is_used |= is_read[var as usize];
                    is_closed = false;
                    continue;
                };
                is_used |= here[word] & bit != 0;
                is_closed &= leaves[word] & bit == 0;
                here[word] &= !bit;
                leaves[word] &= !bit;
            }
            if !is_used && op.only_computes() {
                dead.insert(at);
                continue;
            }
            if is_used && is_closed {
                closed.insert(at);
            }
            uses.reads(&function.values, |var| {
                read(var, place_of, &mut here, &mut is_read);
            });
        }
    }
    Ok((dead, closed))
}

/// Records a read, of a member in the set `here`.
fn read(
    var: Var,
    place_of: impl Fn(Var) -> Option<(usize, u64)>,
    here: &mut [u64],
    is_read: &mut [bool],
) {
    match place_of(var) {
        Some((word, bit)) => here[word] |= bit,
        None => is_read[var as usize] = true,
    }
}

/// Gives each value that `closed` operations write a variable of its own: compilers reuse one local
/// for many values.
pub(super) fn split(function: &mut Function, dead: &Ops, closed: &Ops) {
    let mut names: Vec<Var> = (0..function.vars).collect();
    let mut renamed: Vec<Var> = Vec::new();
    let mut at = FIRST;
    for block in &function.order {
        let block = &mut function.blocks[*block as usize];
        let values = &mut function.values;
        let mut rename_list = |(start, end): (u32, u32), names: &[Var]| {
            for value in &mut values[start as usize..end as usize] {
                if let Value::Var(var) = value {
                    *var = names[*var as usize];
                }
            }
        };
        for op in &mut block.ops {
            if !dead.has(at) {
                let list = op.rename_reads(|var| names[var as usize]);
                rename_list(list, &names);
                let (to, count) = op.writes();
                if closed.has(at) {
                    op.retarget(function.vars);
                    names[to as usize] = function.vars;
                    renamed.push(to);
                    function.vars += 1;
                } else {
                    (to..to + count).for_each(|var| names[var as usize] = var);
                }
            }
            at += 1;
        }
        let list = block.end.rename_reads(|var| names[var as usize]);
        rename_list(list, &names);
        at += 1;
        for var in renamed.drain(..) {
            names[var as usize] = var;
        }
    }
}
