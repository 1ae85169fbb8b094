// SPDX-License-Identifier: GPL-2.0-only
//! Instructions with labels, and the resolution of labels to jump distances.

use alloc::vec;
use alloc::vec::Vec;

use super::insn::{self, Insn, Jump, Reg, Source, JMP, R0};
use crate::{Unsupported, Work};

/// Rounds that are looked for near jumps; beyond, all are far.
const MAX_ROUNDS: u32 = 8;

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
    pub(crate) fn finish(self, work: &Work<'_>) -> Result<Assembled, Unsupported> {
        work.take(self.insns.len() + self.calls.len() + self.jumps.len())?;
        let distances = Distances::new(&self, work)?;
        let mut insns = Vec::with_capacity(distances.moved(self.insns.len(), self.jumps.len()));
        let mut jumps = (0..self.jumps.len()).peekable();
        for (index, insn) in self.insns.iter().enumerate() {
            let Some(jump) = jumps.next_if(|at| self.jumps[*at].0 == index) else {
                insns.push(*insn);
                continue;
            };
            let distance = distances.of(jump);
            if !distances.long[jump] {
                insns.push(Insn {
                    offset: distance as i16,
                    ..*insn
                });
            } else if insn.is_conditional() {
                insns.push(inverted(*insn));
                insns.push(insn::long_jump(distance as i32 - 1));
            } else {
                insns.push(insn::long_jump(distance as i32));
            }
        }
        let calls = self.calls.iter().map(|at| {
            let before = self.jumps.partition_point(|(index, _)| index < at);
            distances.moved(*at, before) as u32
        });
        Ok(Assembled {
            insns,
            calls: calls.collect(),
            has_long_jumps: distances.long.contains(&true),
        })
    }
}

/// How far jumps reach, by their places among the jumps.
struct Distances {
    /// The instruction of each, and the one it leads to, with the number of jumps before that.
    jumps: Vec<(usize, usize, usize)>,
    /// Those that do not reach it.
    long: Vec<bool>,
    /// By how much what stands behind so many jumps moves, as long ones are two instructions.
    shifts: Vec<u32>,
}

impl Distances {
    fn new(asm: &Assembler, work: &Work<'_>) -> Result<Self, Unsupported> {
        let jumps = asm.jumps.iter().map(|(index, to)| {
            let target = asm.target(*to);
            let before = asm.jumps.partition_point(|(it, _)| *it < target);
            (*index, target, before)
        });
        let mut this = Self {
            jumps: jumps.collect(),
            long: vec![false; asm.jumps.len()],
            shifts: vec![0; asm.jumps.len() + 1],
        };
        if asm.insns.len() + asm.jumps.len() <= i16::MAX as usize {
            // None can be too far.
            return Ok(this);
        }
        // Only more and more jumps get long.
        for round in 0.. {
            work.take(asm.jumps.len())?;
            if round == MAX_ROUNDS {
                this.long.fill(true);
            }
            for (at, (index, ..)) in this.jumps.iter().enumerate() {
                let is_two = this.long[at] && asm.insns[*index].is_conditional();
                this.shifts[at + 1] = this.shifts[at] + u32::from(is_two);
            }
            let mut has_changed = false;
            for at in 0..this.jumps.len() {
                if !this.long[at] && i16::try_from(this.of(at)).is_err() {
                    this.long[at] = true;
                    has_changed = true;
                }
            }
            if !has_changed {
                break;
            }
        }
        Ok(this)
    }

    /// Where the instruction with this index comes to be, behind so many jumps.
    fn moved(&self, index: usize, jumps: usize) -> usize {
        index + self.shifts[jumps] as usize
    }

    /// From behind a jump to where it leads.
    fn of(&self, jump: usize) -> i64 {
        let (index, target, before) = self.jumps[jump];
        self.moved(target, before) as i64 - self.moved(index, jump) as i64 - 1
    }
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
    use crate::testing::work;

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
        let insns = asm.finish(&work()).unwrap().insns;
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
        let done = asm.finish(&work()).unwrap();
        assert!(done.has_long_jumps);
        assert_eq!(done.insns.len(), 40_004);
        assert_eq!(done.insns[0].code, JMP | Jump::Sge as u8);
        assert_eq!(done.insns[0].offset, 1);
        assert_eq!(done.insns[1], insn::long_jump(40_001));
        assert_eq!(done.insns[40_002], insn::long_jump(-40_003));
    }
}
