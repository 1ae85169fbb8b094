// SPDX-License-Identifier: GPL-2.0-only
//! Where to by a number: eBPF has no indirect jump, so a tree of comparisons finds the way.

use alloc::vec;
use alloc::vec::Vec;

use super::assembler::{Assembler, Label};
use super::insn::{Jump, Reg, Source, JMP32};

/// From this number on, up to the next case's, the way leads to the label. The first begins at 0.
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
                // It comes next.
                left.push((None, first, middle));
            }
        }
    }
}

/// The cases of numbers that each have a label, from 0 on, and of all that follow.
pub(crate) fn cases(labels: &[Label], default: Label) -> Vec<Case> {
    let labels = labels.iter().copied().chain([default]);
    labels
        .enumerate()
        .map(|(number, label)| (number as u32, label))
        .collect()
}
