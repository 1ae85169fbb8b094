// SPDX-License-Identifier: GPL-2.0-only
//! Indexed jumps as compare trees, so that native code has no indirect branch.

use alloc::vec;
use alloc::vec::Vec;

use super::assembler::{Assembler, Label};
use super::insn::{Jump, Reg, Source, JMP32};

/// The first number of a range, and its label. The range ends before the next case's number. The
/// first case's number is 0.
pub(crate) type Case = (u32, Label);

/// Jumps to the case of the 32-bit number in `reg`.
pub(crate) fn switch(asm: &mut Assembler, reg: Reg, cases: &[Case]) {
    let mut cases = cases.to_vec();
    cases.dedup_by_key(|(_, label)| *label);
    let mut left: Vec<(Option<Label>, usize, usize)> = vec![(None, 0, cases.len())];
    while let Some((label, first, end)) = left.pop() {
        if let Some(label) = label {
            asm.bind(label);
        }
        match end - first {
            0 => {}
            1 => asm.jump(cases[first].1),
            _ => {
                let middle = first + (end - first) / 2;
                let start = Source::Imm(cases[middle].0 as i32);
                if end - middle == 1 {
                    asm.branch(JMP32, Jump::Ge, reg, start, cases[middle].1);
                } else {
                    let upper = asm.label();
                    asm.branch(JMP32, Jump::Ge, reg, start, upper);
                    left.push((Some(upper), middle, end));
                }
                // The lower half comes next, so it needs no label.
                left.push((None, first, middle));
            }
        }
    }
}

/// The cases for numbers from 0 on with a label each, and for all larger numbers.
pub(crate) fn cases(labels: &[Label], default: Label) -> Vec<Case> {
    let labels = labels.iter().copied().chain([default]);
    labels
        .enumerate()
        .map(|(number, label)| (number as u32, label))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::back::insn::{alu, exit, Alu, Insn, ALU64, R0, R1};
    use crate::testing::work;

    /// Runs a compare tree on `number` in R1. Returns the number that the target moves to R0.
    fn follow(insns: &[Insn], number: u32) -> i32 {
        let mut at = 0;
        loop {
            let insn = insns[at];
            at += 1;
            let is_compare = insn.code == JMP32 | Jump::Ge as u8;
            if insn.code == alu(ALU64, Alu::Mov, R0, Source::Imm(0)).code {
                return insn.imm;
            }
            if !is_compare || number >= insn.imm as u32 {
                at = (at as i64 + i64::from(insn.offset)) as usize;
            }
        }
    }

    #[test]
    fn each_number_finds_its_case() {
        for count in [0, 1, 2, 7, 300] {
            let mut asm = Assembler::default();
            // Adjacent cases share a label, and labels repeat.
            let labels: Vec<Label> = (0..4).map(|_| asm.label()).collect();
            let of = |number: usize| if number >= count { 3 } else { number / 2 % 3 };
            let targets: Vec<Label> = (0..count).map(|number| labels[of(number)]).collect();
            switch(&mut asm, R1, &cases(&targets, labels[3]));
            for (value, label) in labels.iter().enumerate() {
                asm.bind(*label);
                asm.push(alu(ALU64, Alu::Mov, R0, Source::Imm(value as i32)));
                asm.push(exit());
            }
            let insns = asm.finish(&work()).unwrap().insns;
            for number in (0..count + 3).chain([u32::MAX as usize]) {
                assert_eq!(
                    follow(&insns, number as u32),
                    of(number) as i32,
                    "{number} of {count}"
                );
            }
        }
    }
}
