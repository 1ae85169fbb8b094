// SPDX-License-Identifier: GPL-2.0-only
//! Instructions with labels, and the resolution of labels to jump distances.

use alloc::vec;
use alloc::vec::Vec;

use super::insn::{self, Access, Insn, Jump, Reg, Source, JMP, R0, R9};
use crate::{Unsupported, Work};

/// Maximum rounds of the search for short jumps. After that, all jumps become long.
const MAX_ROUNDS: u32 = 8;

/// A position in the code, which may not be known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label(u32);

/// The position of a label.
#[derive(Clone, Copy, Debug)]
enum Place {
    Unknown,
    /// Before the instruction with this index.
    At(usize),
    /// The position of another label.
    Same(Label),
}

#[derive(Debug, Default)]
pub(crate) struct Assembler {
    insns: Vec<Insn>,
    labels: Vec<Place>,
    /// Jumps: the index of the instruction, in ascending order, and the target.
    jumps: Vec<(usize, Label)>,
    /// Indices of the calls of helpers.
    calls: Vec<usize>,
    /// For R0 and R1, the offset from R9 of a word of the frame that has the same value.
    held: [Option<i16>; 2],
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
    /// An assembler that has room for this many instructions from the beginning.
    pub(crate) fn with_room(insns: usize) -> Self {
        Self {
            insns: Vec::with_capacity(insns),
            ..Self::default()
        }
    }

    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(Place::Unknown);
        Label(self.labels.len() as u32 - 1)
    }

    /// Binds a label to the current position.
    pub(crate) fn bind(&mut self, label: Label) {
        self.labels[label.0 as usize] = Place::At(self.insns.len());
        self.held = [None; 2];
    }

    /// Binds a label to the position of another label, which may not be known yet.
    pub(crate) fn bind_to(&mut self, label: Label, other: Label) {
        self.labels[label.0 as usize] = Place::Same(other);
    }

    /// Leaves a load of a word of the frame out if the register already holds that word.
    pub(crate) fn push(&mut self, insn: Insn) {
        let access = insn.word_of_frame();
        if let Some((Access::Load, to)) = access {
            if self.held.get(to as usize) == Some(&Some(insn.offset)) {
                return;
            }
        }
        self.insns.push(insn);
        if insn.code == (JMP | Jump::Call as u8) || insn.written() == Some(R9) {
            self.held = [None; 2];
        }
        if let Some(held) = insn
            .written()
            .and_then(|reg| self.held.get_mut(reg.0 as usize))
        {
            *held = None;
        }
        if let Some((kind, reg)) = access {
            if kind == Access::Store {
                // Words do not overlap.
                let others = self.held.iter_mut();
                others
                    .filter(|it| **it == Some(insn.offset))
                    .for_each(|it| *it = None);
            }
            if let Some(held) = self.held.get_mut(reg as usize) {
                *held = Some(insn.offset);
            }
        }
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

    /// Renames R6 to R9 to unused registers, if no helper is called: the kernel's compiler has to
    /// save those four for its caller.
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
        // The first instruction copies the machine's address from R1 to R9. If R1 is not used
        // afterwards, the address can stay there.
        let is_moved = |insn: &Insn| insn.used().contains(&1);
        if !self.insns.iter().skip(1).any(is_moved) {
            names[9] = 1;
        }
        for insn in &mut self.insns {
            insn.rename(&names);
        }
    }

    fn target(&self, mut label: Label) -> usize {
        // This terminates, also for functions that only call each other in a cycle: a label is only
        // bound to an older one.
        loop {
            match self.labels[label.0 as usize] {
                Place::At(index) => return index,
                Place::Same(other) => label = other,
                Place::Unknown => unreachable!("a label without a position"),
            }
        }
    }

    /// Fills in the distances. A conditional jump reaches 32,767 instructions. If it has to reach
    /// further, it is inverted and skips a long jump.
    pub(crate) fn finish(self, work: &Work<'_>) -> Result<Assembled, Unsupported> {
        work.take(self.insns.len() + self.calls.len() + self.jumps.len())?;
        if self.insns.len() + self.jumps.len() <= i16::MAX as usize {
            return Ok(self.with_short_jumps());
        }
        let distances = Distances::new(&self, work)?;
        if !distances.long.contains(&true) {
            return Ok(self.with_short_jumps());
        }
        let mut insns = Vec::with_capacity(distances.moved(self.insns.len(), self.jumps.len()));
        let mut copied = 0;
        for (jump, (index, _)) in self.jumps.iter().enumerate() {
            insns.extend_from_slice(&self.insns[copied..*index]);
            copied = index + 1;
            let (insn, distance) = (self.insns[*index], distances.of(jump));
            if !distances.long[jump] {
                insns.push(Insn {
                    offset: distance as i16,
                    ..insn
                });
            } else if insn.is_conditional() {
                insns.push(inverted(insn));
                insns.push(insn::long_jump(distance as i32 - 1));
            } else {
                insns.push(insn::long_jump(distance as i32));
            }
        }
        insns.extend_from_slice(&self.insns[copied..]);
        let calls = self.calls.iter().map(|at| {
            let before = self.jumps.partition_point(|(index, _)| index < at);
            distances.moved(*at, before) as u32
        });
        Ok(Assembled {
            insns,
            calls: calls.collect(),
            has_long_jumps: true,
        })
    }

    /// As [`Self::finish`], if every jump is short enough.
    fn with_short_jumps(mut self) -> Assembled {
        for (index, to) in core::mem::take(&mut self.jumps) {
            let distance = self.target(to) as i64 - index as i64 - 1;
            self.insns[index].offset = distance as i16;
        }
        Assembled {
            insns: self.insns,
            calls: self.calls.iter().map(|at| *at as u32).collect(),
            has_long_jumps: false,
        }
    }
}

/// The distances of jumps, by their indices among the jumps.
struct Distances {
    /// For each jump: its instruction, its target, and the number of jumps before the target.
    jumps: Vec<(usize, usize, usize)>,
    /// For each jump, whether it is long.
    long: Vec<bool>,
    /// For each number of jumps, the instructions that they add: a long conditional jump is two
    /// instructions.
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
        // This terminates, because no long jump becomes short again.
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

    /// The final index of an instruction that has `jumps` jumps before it.
    fn moved(&self, index: usize, jumps: usize) -> usize {
        index + self.shifts[jumps] as usize
    }

    /// The distance of a jump, from the next instruction to its target.
    fn of(&self, jump: usize) -> i64 {
        let (index, target, before) = self.jumps[jump];
        self.moved(target, before) as i64 - self.moved(index, jump) as i64 - 1
    }
}

/// The inverse of a conditional jump, which skips one instruction.
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
    use crate::back::insn::{alu, Alu, Size, ALU64, R1};
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
    fn a_register_is_not_loaded_with_what_it_holds() {
        let word = |reg, offset| insn::load(Size::B8, reg, R9, offset);
        let keep = |reg, offset| insn::store(Size::B8, R9, offset, Source::Reg(reg));
        let loads = |insns: &[Insn]| {
            let mut asm = Assembler::default();
            insns.iter().for_each(|insn| asm.push(*insn));
            asm.insns
                .iter()
                .filter(|it| it.code == word(R0, 0).code)
                .count()
        };
        let add = |reg| alu(ALU64, Alu::Add, reg, Source::Imm(1));
        assert_eq!(loads(&[keep(R0, 8), word(R0, 8)]), 0);
        assert_eq!(loads(&[word(R1, 8), add(R0), word(R1, 8)]), 1);
        assert_eq!(loads(&[keep(R0, 8), word(R1, 8)]), 1);
        assert_eq!(loads(&[keep(R0, 8), word(R0, 16)]), 1);
        for between in [
            add(R0),
            add(R9),
            insn::call(1),
            keep(R1, 8),
            insn::store(Size::B8, R9, 8, Source::Imm(1)),
            word(R0, 16),
        ] {
            let insns = [keep(R0, 8), between, word(R0, 8)];
            assert_eq!(loads(&insns), 1 + loads(&[between]), "{between:?}");
        }
        let mut asm = Assembler::default();
        let label = asm.label();
        asm.push(keep(R0, 8));
        asm.bind(label);
        asm.push(word(R0, 8));
        assert_eq!(asm.len(), 2);
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
