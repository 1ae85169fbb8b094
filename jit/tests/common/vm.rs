// SPDX-License-Identifier: GPL-2.0-only
//! An eBPF machine after RFC 9669, for the instructions that are emitted: strict, so that whatever is
//! wrong with a program panics.
//!
//! Not rbpf's: its interpreter sign-extends what 32-bit operations leave, and its compiler has room for
//! a page of code.

use nf_wasm_jit::Insn;

/// A helper: it looks at as many arguments as it has.
pub type Helper = unsafe extern "C" fn(u64, u64, u64, u64, u64) -> u64;

/// Instructions after which a program has no end.
const MOST_STEPS: u64 = 1 << 32;

/// Runs a program with `argument`. It may touch the addresses in `bounds`, and its stack.
pub fn run(
    insns: &[Insn],
    argument: u64,
    bounds: &[std::ops::Range<u64>],
    helper: impl Fn(i32) -> Helper,
) -> u64 {
    let mut stack = [0_u64; 64];
    let stack = stack.as_mut_ptr_range();
    let stack = stack.start as u64..stack.end as u64;
    let mut r = [0_u64; 11];
    (r[1], r[10]) = (argument, stack.end);
    let mut at = 0_usize;
    for _ in 0..MOST_STEPS {
        let insn = insns[at];
        let (dst, src) = (
            (insn.registers & 15) as usize,
            (insn.registers >> 4) as usize,
        );
        let (class, op) = (insn.code & 7, insn.code & 0xf0);
        let imm = i64::from(insn.imm) as u64;
        let b = if insn.code & 8 != 0 { r[src] } else { imm };
        let here = at;
        at += 1;
        let jump = |distance: i64| (at as i64 + distance) as usize;
        match class {
            // LD: a constant of 64 bits.
            0 => {
                assert_eq!(insn.code, 0x18);
                r[dst] = u64::from(insn.imm as u32) | (u64::from(insns[at].imm as u32) << 32);
                at += 1;
            }
            // LDX, ST, STX
            1..=3 => {
                assert_eq!(insn.code & 0xe0, 0x60);
                let bytes = match insn.code & 0x18 {
                    0x10 => 1,
                    0x08 => 2,
                    0x00 => 4,
                    _ => 8,
                };
                let base = if class == 1 { r[src] } else { r[dst] };
                let address = base.wrapping_add(insn.offset as u64);
                let end = address.wrapping_add(bytes as u64);
                let is_in =
                    |range: &std::ops::Range<u64>| range.start <= address && end <= range.end;
                assert!(
                    bounds.iter().any(is_in) || is_in(&stack),
                    "instruction {here} touches {bytes} bytes outside"
                );
                let pointer = address as *mut u8;
                let value = if class == 2 { imm } else { r[src] };
                let mut word = [0; 8];
                // SAFETY: It was just checked.
                unsafe {
                    if class == 1 {
                        std::ptr::copy_nonoverlapping(pointer, word.as_mut_ptr(), bytes);
                        r[dst] = u64::from_le_bytes(word);
                    } else {
                        word = value.to_le_bytes();
                        std::ptr::copy_nonoverlapping(word.as_ptr(), pointer, bytes);
                    }
                }
            }
            4 => r[dst] = u64::from(alu32(op, r[dst] as u32, b as u32)),
            7 => r[dst] = alu64(op, r[dst], b),
            5 | 6 if op == 0 => {
                let distance = if class == 5 {
                    i64::from(insn.offset)
                } else {
                    i64::from(insn.imm)
                };
                at = jump(distance);
            }
            5 if op == 0x80 => {
                // SAFETY: The program was compiled to call it so.
                r[0] = unsafe { helper(insn.imm)(r[1], r[2], r[3], r[4], r[5]) };
                // They are not what they were.
                r[1..6].fill(0xdead_beef_dead_beef);
            }
            5 if op == 0x90 => return r[0],
            5 | 6 => {
                let (a, b) = match class {
                    5 => (r[dst], b),
                    // Sign-extended: comparisons come out the same.
                    _ => (r[dst] as i32 as u64, b as i32 as u64),
                };
                if holds(op, a, b) {
                    at = jump(i64::from(insn.offset));
                }
            }
            _ => unreachable!(),
        }
        assert_eq!(r[10], stack.end);
    }
    panic!("no end");
}

fn holds(op: u8, a: u64, b: u64) -> bool {
    let (x, y) = (a as i64, b as i64);
    match op {
        0x10 => a == b,
        0x20 => a > b,
        0x30 => a >= b,
        0x50 => a != b,
        0x60 => x > y,
        0x70 => x >= y,
        0xa0 => a < b,
        0xb0 => a <= b,
        0xc0 => x < y,
        0xd0 => x <= y,
        _ => panic!("condition {op:#x}"),
    }
}

fn alu32(op: u8, a: u32, b: u32) -> u32 {
    match op {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        // The kernel's compiler divides by zero.
        0x30 => a.checked_div(b).expect("no zero"),
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a.checked_shl(b).expect("at most 31"),
        0x70 => a.checked_shr(b).expect("at most 31"),
        0x90 => a.checked_rem(b).expect("no zero"),
        0xa0 => a ^ b,
        0xb0 => b,
        0xc0 => (a as i32).checked_shr(b).expect("at most 31") as u32,
        _ => panic!("operation {op:#x}"),
    }
}

fn alu64(op: u8, a: u64, b: u64) -> u64 {
    let by = u32::try_from(b).unwrap_or(u32::MAX);
    match op {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x30 => a.checked_div(b).expect("no zero"),
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a.checked_shl(by).expect("at most 63"),
        0x70 => a.checked_shr(by).expect("at most 63"),
        0x90 => a.checked_rem(b).expect("no zero"),
        0xa0 => a ^ b,
        0xb0 => b,
        0xc0 => (a as i64).checked_shr(by).expect("at most 63") as u64,
        _ => panic!("operation {op:#x}"),
    }
}
