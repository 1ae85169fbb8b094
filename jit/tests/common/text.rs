// SPDX-License-Identifier: GPL-2.0-only
//! eBPF instructions as text, in the notation of the kernel's verifier.

use std::ops::Range;

use nf_wasm_jit::machine::TRAPPED;
use nf_wasm_jit::{Helper, Insn};
use nf_wasm_shared::abi::trap::Trap;

const SIZES: [&str; 4] = ["u32", "u16", "u8", "u64"];

/// The instructions in a range, one per line.
pub fn show(insns: &[Insn], range: Range<usize>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let insn = insns[at];
        if insn.code == 0x18 {
            let value = u64::from(insn.imm as u32) | (u64::from(insns[at + 1].imm as u32) << 32);
            lines.push(format!("r{} = {value:#x} ll", insn.registers & 15));
            at += 2;
        } else {
            lines.push(line(insns, at));
            at += 1;
        }
    }
    lines
}

fn line(insns: &[Insn], at: usize) -> String {
    let Insn {
        code,
        registers,
        offset,
        imm,
    } = insns[at];
    let (class, op) = (code & 7, code & 0xf0);
    let register = match class {
        4 | 6 => "w",
        _ => "r",
    };
    let (dst, src) = (registers & 15, registers >> 4);
    let operand = match code & 8 {
        0 => imm.to_string(),
        _ => format!("{register}{src}"),
    };
    let place = |base: u8| {
        let size = SIZES[((code >> 3) & 3) as usize];
        format!("*({size} *)(r{base} {offset:+})")
    };
    match class {
        1 => format!("r{dst} = {}", place(src)),
        2 => format!("{} = {imm}", place(dst)),
        3 => format!("{} = r{src}", place(dst)),
        4 if op == 0xd0 => format!("r{dst} = be{imm} r{dst}"),
        4 | 7 => format!("{register}{dst} {} {operand}", operator(op)),
        _ if op == 0x80 => match Helper::ALL.get(imm as usize) {
            Some(helper) => format!("call {helper:?}"),
            None => "call the host function".to_owned(),
        },
        _ if op == 0x90 => "exit".to_owned(),
        _ if op == 0 => to(insns, at, if class == 5 { offset.into() } else { imm }),
        _ => format!(
            "if {register}{dst} {} {operand} {}",
            condition(op),
            to(insns, at, offset.into())
        ),
    }
}

fn to(insns: &[Insn], at: usize, distance: i32) -> String {
    let target = insns[(at as i64 + 1 + i64::from(distance)) as usize];
    // The target is the code that sets a trap's number.
    let trap = (target.imm as u32).checked_sub(TRAPPED);
    match trap.and_then(Trap::from_number) {
        Some(trap) if target.code == 0xb4 => format!("trap {}", trap.name()),
        _ => format!("goto {distance:+}"),
    }
}

fn operator(op: u8) -> &'static str {
    match op {
        0x00 => "+=",
        0x10 => "-=",
        0x20 => "*=",
        0x30 => "/=",
        0x40 => "|=",
        0x50 => "&=",
        0x60 => "<<=",
        0x70 => ">>=",
        0x90 => "%=",
        0xa0 => "^=",
        0xb0 => "=",
        0xc0 => "s>>=",
        _ => panic!("operation {op:#x}"),
    }
}

fn condition(op: u8) -> &'static str {
    match op {
        0x10 => "==",
        0x20 => ">",
        0x30 => ">=",
        0x50 => "!=",
        0x60 => "s>",
        0x70 => "s>=",
        0xa0 => "<",
        0xb0 => "<=",
        0xc0 => "s<",
        0xd0 => "s<=",
        _ => panic!("condition {op:#x}"),
    }
}
