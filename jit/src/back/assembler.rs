// SPDX-License-Identifier: GPL-2.0-only
//! Instructions with labels, until distances are known.

use alloc::vec;
use alloc::vec::Vec;

use super::insn::{self, Insn, Jump, Reg, Source, JMP, R0};

/// Rounds that are looked for near jumps; beyond, all are far.
const MOST_ROUNDS: u32 = 8;

/// A place in the code, maybe one that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label(u32);

/// Where a label is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Unknown,
    /// Before the instruction with this index.
    At(usize),
    /// Where another label is.
    Same(Label),
}

#[derive(Debug, Default)]
pub(crate) struct Assembler {
    insns: Vec<Insn>,
    labels: Vec<Place>,
    /// Jumps, by their indices in order, and where they lead.
    jumps: Vec<(usize, Label)>,
    /// Calls of helpers, by their indices.
    calls: Vec<usize>,
}

/// Finished code.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    pub(crate) insns: Vec<Insn>,
    /// Indices of calls, whose `imm` is a helper's number.
    pub(crate) calls: Vec<u32>,
    /// Whether there is a jump whose distance is in `imm`.
    pub(crate) has_long_jumps: bool,
}

impl Assembler {
    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(Place::Unknown);
        Label(self.labels.len() as u32 - 1)
    }

    /// Puts a label here.
    pub(crate) fn bind(&mut self, label: Label) {
        self.labels[label.0 as usize] = Place::At(self.insns.len());
    }

    /// Puts a label where another is, or will be.
    pub(crate) fn bind_to(&mut self, label: Label, other: Label) {
        self.labels[label.0 as usize] = Place::Same(other);
    }

    pub(crate) fn push(&mut self, insn: Insn) {
        self.insns.push(insn);
    }

    pub(crate) fn jump(&mut self, to: Label) {
        self.branch(JMP, Jump::Always, R0, Source::Imm(0), to);
    }

    pub(crate) fn branch(&mut self, class: u8, condition: Jump, a: Reg, b: Source, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(insn::jump(class, condition, a, b));
    }

    pub(crate) fn call(&mut self, helper: i32) {
        self.calls.push(self.insns.len());
        self.push(insn::call(helper));
    }

    pub(crate) fn len(&self) -> usize {
        self.insns.len()
    }

    /// Where no helper is called, moves what is in R6 to R9 to registers that are not used: the
    /// kernel's compiler has to save those four for its caller.
    pub(crate) fn prefer_free_registers(&mut self) {
        if !self.calls.is_empty() {
            return;
        }
        let mut used = [false; 16];
        for insn in &self.insns {
            for reg in insn.used() {
                used[reg as usize] = true;
            }
        }
        let mut names: [u8; 16] = core::array::from_fn(|reg| reg as u8);
        let mut free = (1..=5).rev().filter(|reg| !used[*reg as usize]);
        for reg in (6..=9).rev().filter(|reg| used[*reg as usize]) {
            if let Some(free) = free.next() {
                names[reg as usize] = free;
            }
        }
        // The machine may as well stay where it was: the first instruction is to move it.
        let is_moved = |insn: &Insn| insn.used().contains(&1);
        if !self.insns.iter().skip(1).any(is_moved) {
            names[9] = 1;
        }
        for insn in &mut self.insns {
            insn.rename(&names);
        }
    }

    fn target(&self, mut label: Label) -> usize {
        // Functions that only call each other in a ring have no loop here: a label that stands for
        // another was made after it.
        loop {
            match self.labels[label.0 as usize] {
                Place::At(index) => return index,
                Place::Same(other) => label = other,
                Place::Unknown => unreachable!("a label that is nowhere"),
            }
        }
    }

    /// Fills in the distances. A conditional jump reaches 32,767 instructions: one that has to reach
    /// further becomes its opposite over a long jump.
    pub(crate) fn finish(self) -> Assembled {
        let targets: Vec<usize> = self.jumps.iter().map(|(_, to)| self.target(*to)).collect();
        let mut long = vec![false; self.jumps.len()];
        // By how much what follows a jump moves: only more and more jumps get long.
        let mut rounds = 0;
        let positions = loop {
            if rounds == MOST_ROUNDS {
                long.fill(true);
            }
            rounds += 1;
            let positions = self.positions(&long);
            let mut changed = false;
            for (at, (index, _)) in self.jumps.iter().enumerate() {
                let distance = distance(&positions, *index, targets[at], 0);
                if !long[at] && i16::try_from(distance).is_err() {
                    long[at] = true;
                    changed = true;
                }
            }
            if !changed {
                break positions;
            }
        };
        let mut insns = Vec::with_capacity(positions[self.insns.len()]);
        let mut jumps = self.jumps.iter().zip(&targets).zip(&long).peekable();
        for (index, insn) in self.insns.iter().enumerate() {
            let Some((((_, _), target), long)) = jumps.next_if(|(((at, _), _), _)| *at == index)
            else {
                insns.push(*insn);
                continue;
            };
            let is_always = insn.code == JMP | Jump::Always as u8;
            if !long {
                let distance = distance(&positions, index, *target, 0);
                insns.push(Insn {
                    offset: distance as i16,
                    ..*insn
                });
            } else if is_always {
                insns.push(insn::long_jump(
                    distance(&positions, index, *target, 0) as i32
                ));
            } else {
                insns.push(inverted(*insn));
                insns.push(insn::long_jump(
                    distance(&positions, index, *target, 1) as i32
                ));
            }
        }
        Assembled {
            insns,
            calls: self.calls.iter().map(|at| positions[*at] as u32).collect(),
            has_long_jumps: long.contains(&true),
        }
    }

    /// Where each instruction comes to be, and where the code ends.
    fn positions(&self, long: &[bool]) -> Vec<usize> {
        let mut positions = Vec::with_capacity(self.insns.len() + 1);
        let mut jumps = self.jumps.iter().zip(long).peekable();
        let mut position = 0;
        for (index, insn) in self.insns.iter().enumerate() {
            positions.push(position);
            position += 1;
            if let Some((_, true)) = jumps.next_if(|((at, _), _)| *at == index) {
                position += usize::from(insn.code != JMP | Jump::Always as u8);
            }
        }
        positions.push(position);
        positions
    }
}

/// From behind the jump at `index`, or behind the `later`th instruction after it, to `target`.
fn distance(positions: &[usize], index: usize, target: usize, later: i64) -> i64 {
    positions[target] as i64 - positions[index] as i64 - 1 - later
}

/// The opposite of a conditional jump, over one instruction.
fn inverted(insn: Insn) -> Insn {
    // Bits 4 to 7 are the condition, 3 the kind of operand, 0 to 2 the class.
    let conditions = [
        Jump::Eq,
        Jump::Gt,
        Jump::Ge,
        Jump::Ne,
        Jump::Sgt,
        Jump::Sge,
        Jump::Lt,
        Jump::Le,
        Jump::Slt,
        Jump::Sle,
    ];
    let condition = conditions
        .into_iter()
        .find(|it| *it as u8 == insn.code & 0xf0)
        .map_or(0, |it| it.inverted() as u8);
    Insn {
        code: insn.code & 0x0f | condition,
        offset: 1,
        ..insn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::back::insn::{alu, Alu, ALU64};

    fn nops(asm: &mut Assembler, count: usize) {
        for _ in 0..count {
            asm.push(alu(ALU64, Alu::Add, R0, Source::Imm(1)));
        }
    }

    #[test]
    fn short_jumps_count_from_the_next_instruction() {
        let mut asm = Assembler::default();
        let (ahead, back) = (asm.label(), asm.label());
        asm.bind(back);
        asm.branch(JMP, Jump::Eq, R0, Source::Imm(3), ahead);
        nops(&mut asm, 2);
        asm.jump(back);
        asm.bind(ahead);
        nops(&mut asm, 1);
        let insns = asm.finish().insns;
        assert_eq!((insns[0].offset, insns[3].offset), (3, -4));
    }

    #[test]
    fn long_conditional_jumps_become_two() {
        let mut asm = Assembler::default();
        let (ahead, back) = (asm.label(), asm.label());
        asm.bind(back);
        asm.branch(JMP, Jump::Slt, R0, Source::Imm(3), ahead);
        nops(&mut asm, 40_000);
        asm.jump(back);
        asm.bind(ahead);
        nops(&mut asm, 1);
        let done = asm.finish();
        assert!(done.has_long_jumps);
        assert_eq!(done.insns.len(), 40_004);
        assert_eq!(done.insns[0].code, JMP | Jump::Sge as u8);
        assert_eq!(done.insns[0].offset, 1);
        assert_eq!(done.insns[1], insn::long_jump(40_001));
        assert_eq!(done.insns[40_002], insn::long_jump(-40_003));
    }
}
