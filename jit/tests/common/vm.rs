// SPDX-License-Identifier: GPL-2.0-only
//! An eBPF machine for the instructions that the compiler emits, according to RFC 9669. It panics
//! on any error in the code.
//!
//! On request it simulates speculation: at a conditional branch it executes up to 300 instructions
//! on the wrong path, and then undoes them. Their loads and stores are checked like others.
//!
//! rbpf cannot be used: its interpreter sign-extends the results of 32-bit operations, and its
//! compiler is limited to one page of code.

use std::ops::Range;

use nf_wasm_generate::random::Random;
use nf_wasm_jit::machine::TRAPPED;
use nf_wasm_jit::{Insn, Machine};
use nf_wasm_shared::abi::trap::Trap;

/// A helper. It may have fewer parameters.
pub type Helper = unsafe extern "C" fn(u64, u64, u64, u64, u64) -> u64;

/// Instructions after which the code is assumed not to end.
const MAX_INSTRUCTIONS: u64 = 1 << 32;
/// Instructions on a wrong path: the size of a large core's reorder buffer.
const MAX_AHEAD: u32 = 300;
/// Nothing is mapped below this address (`vm.mmap_min_addr`).
const UNMAPPED: u64 = 1 << 16;
/// One in this many branches is mispredicted, if neither path is a trap. Applies to the initial
/// rate, and to further mispredictions on a wrong path.
const RARITY: u64 = 64;
const RARITY_AHEAD: u64 = 8;

/// The state and the counters of speculation.
#[derive(Debug)]
pub struct Speculation {
    random: Random,
    /// Number of mispredicted branches, including those on wrong paths.
    pub mistakes: u64,
    /// Number of loads and stores on wrong paths.
    pub accesses: u64,
    /// The linear memory with the guard behind it, which may be accessed on a wrong path.
    pub guarded: Range<u64>,
}

impl Speculation {
    #[allow(dead_code, reason = "not all tests speculate")]
    pub fn new(random: Random) -> Self {
        Self {
            random,
            mistakes: 0,
            accesses: 0,
            guarded: 0..0,
        }
    }
}

/// The control flow after an instruction.
enum Step {
    Next,
    Call(i32),
    Exit(u64),
}

/// The two paths of a conditional branch.
struct Branch {
    right: usize,
    wrong: usize,
}

struct Vm<'a> {
    insns: &'a [Insn],
    /// The ranges that may be accessed. They are far apart: a wrong address in one does not reach
    /// another.
    bounds: &'a [Range<u64>],
    /// The linear memory with the guard, which may be accessed on a wrong path.
    guarded: Range<u64>,
    stack: Range<u64>,
    r: [u64; 11],
    at: usize,
    /// Whether there are calls within the module.
    nests: bool,
    /// Whether the current branches search for the return site of a function.
    returns: bool,
    /// On a wrong path: the addresses, old bytes and sizes of stores.
    undo: Option<Vec<(u64, u64, usize)>>,
}

/// Runs code with `argument`. It may access the addresses in `bounds`, and its stack. Returns its
/// result, and the number of instructions.
pub fn run(
    insns: &[Insn],
    argument: u64,
    bounds: &[Range<u64>],
    helper: impl Fn(i32) -> Helper,
    mut speculation: Option<&mut Speculation>,
) -> (u64, u64) {
    let mut stack = [0_u64; 64];
    let stack = stack.as_mut_ptr_range();
    let mut vm = Vm {
        insns,
        bounds,
        guarded: speculation.as_ref().map_or(0..0, |it| it.guarded.clone()),
        stack: stack.start as u64..stack.end as u64,
        r: [0; 11],
        at: 0,
        nests: insns.iter().any(|insn| insn.registers >> 4 == 10),
        returns: false,
        undo: None,
    };
    (vm.r[1], vm.r[10]) = (argument, vm.stack.end);
    for steps in 1..MAX_INSTRUCTIONS {
        if let Some(speculation) = &mut speculation {
            vm.speculate(speculation);
        }
        match vm.step() {
            Step::Next => {}
            Step::Call(number) => {
                let [_, a, b, c, d, e, ..] = vm.r;
                // SAFETY: The code was compiled to call it with these arguments.
                vm.r[0] = unsafe { helper(number)(a, b, c, d, e) };
                // A call clobbers these registers.
                vm.r[1..6].fill(0xdead_beef_dead_beef);
            }
            Step::Exit(value) => return (value, steps),
        }
        assert_eq!(vm.r[10], vm.stack.end);
    }
    panic!("no end");
}

impl Vm<'_> {
    /// At a branch that is to be mispredicted, executes the wrong path and undoes it.
    fn speculate(&mut self, speculation: &mut Speculation) {
        let Some(wrong) = self.mistake(speculation, RARITY) else {
            return;
        };
        let (registers, at, returns) = (self.r, self.at, self.returns);
        self.undo = Some(Vec::new());
        self.at = wrong;
        for _ in 0..MAX_AHEAD {
            if let Some(wrong) = self.mistake(speculation, RARITY_AHEAD) {
                self.at = wrong;
                continue;
            }
            let is_access = matches!(self.insns[self.at].code & 7, 1..=3);
            speculation.accesses += u64::from(is_access);
            // Helpers are not simulated on a wrong path.
            if !matches!(self.step(), Step::Next) {
                break;
            }
        }
        for (address, bytes, len) in self.undo.take().into_iter().flatten().rev() {
            // SAFETY: A checked store wrote to this address. This restores the old bytes.
            unsafe { write(address, bytes, len) };
        }
        (self.r, self.at, self.returns) = (registers, at, returns);
    }

    /// The wrong path, if the next instruction is a branch that is to be mispredicted. If the right
    /// path is a trap, it always is.
    fn mistake(&self, speculation: &mut Speculation, rarity: u64) -> Option<usize> {
        let branch = self.branch()?;
        let traps = |at| self.trap(at);
        let is_one = match (traps(branch.right), traps(branch.wrong)) {
            // Stack checks do not bound an index.
            (Some(Trap::StackOverflow), _) | (_, Some(_)) => false,
            (Some(_), None) => true,
            (None, None) => speculation.random.below(rarity) == 0,
        };
        speculation.mistakes += u64::from(is_one);
        is_one.then_some(branch.wrong)
    }

    /// The paths of the next instruction, if it is a branch of the guest. Branches of the dispatch
    /// through the table, and those that return to a caller, are assumed to be predicted correctly.
    fn branch(&self) -> Option<Branch> {
        let insn = self.insns[self.at];
        let (class, op) = (insn.code & 7, insn.code & 0xf0);
        let is_of_table = self.nests && insn.code == 0x36 && insn.registers & 15 == 1;
        if !matches!(class, 5 | 6) || matches!(op, 0 | 0x80 | 0x90) || self.returns || is_of_table {
            return None;
        }
        let next = self.at + 1;
        let target = (next as i64 + i64::from(insn.offset)) as usize;
        Some(match self.is_taken(insn) {
            true => Branch {
                right: target,
                wrong: next,
            },
            false => Branch {
                right: next,
                wrong: target,
            },
        })
    }

    /// The trap, if the code at `at` only traps.
    fn trap(&self, mut at: usize) -> Option<Trap> {
        while let Some(distance) = distance(self.insns[at]) {
            at = (at as i64 + 1 + distance) as usize;
        }
        let insn = self.insns[at];
        let number = (insn.imm as u32).checked_sub(TRAPPED);
        number
            .filter(|_| insn.code == 0xb4 && insn.registers == 0)
            .and_then(Trap::from_number)
    }

    fn is_taken(&self, insn: Insn) -> bool {
        let (a, b) = (self.r[(insn.registers & 15) as usize], self.operand(insn));
        let (a, b) = match insn.code & 7 {
            5 => (a, b),
            // Both are sign-extended, which does not change unsigned comparisons.
            _ => (a as i32 as u64, b as i32 as u64),
        };
        holds(insn.code & 0xf0, a, b)
    }

    fn operand(&self, insn: Insn) -> u64 {
        if insn.code & 8 != 0 {
            self.r[(insn.registers >> 4) as usize]
        } else {
            i64::from(insn.imm) as u64
        }
    }

    fn step(&mut self) -> Step {
        let insn = self.insns[self.at];
        let dst = (insn.registers & 15) as usize;
        let (class, op) = (insn.code & 7, insn.code & 0xf0);
        let b = self.operand(insn);
        let here = self.at;
        self.at += 1;
        if !matches!(class, 5 | 6) {
            self.returns = false;
        }
        match class {
            // LD: a constant of 64 bits.
            0 => {
                assert_eq!(insn.code, 0x18);
                let upper = self.insns[self.at].imm as u32;
                self.r[dst] = u64::from(insn.imm as u32) | (u64::from(upper) << 32);
                self.at += 1;
            }
            1..=3 => self.access(insn, here),
            4 if op == 0xd0 => {
                let a = self.r[dst];
                self.r[dst] = match insn.imm {
                    16 => (a as u16).swap_bytes().into(),
                    32 => (a as u32).swap_bytes().into(),
                    bits => panic!("a swap of {bits} bits"),
                };
            }
            4 => {
                let a = self.r[dst] as u32;
                self.r[dst] = u64::from(alu32(op, a, b as u32, self.undo.is_some()));
            }
            7 => self.r[dst] = alu64(op, self.r[dst], b, self.undo.is_some()),
            5 if op == 0x80 => return Step::Call(insn.imm),
            5 if op == 0x90 => return Step::Exit(self.r[0]),
            5 | 6 => {
                let distance = match distance(insn) {
                    Some(distance) => distance,
                    None if self.is_taken(insn) => insn.offset.into(),
                    None => 0,
                };
                self.at = (self.at as i64 + distance) as usize;
            }
            _ => unreachable!(),
        }
        Step::Next
    }

    /// LDX, ST, STX
    fn access(&mut self, insn: Insn, here: usize) {
        let (dst, src) = (
            (insn.registers & 15) as usize,
            (insn.registers >> 4) as usize,
        );
        assert_eq!(insn.code & 0xe0, 0x60);
        let len = match insn.code & 0x18 {
            0x10 => 1,
            0x08 => 2,
            0x00 => 4,
            _ => 8,
        };
        let class = insn.code & 7;
        let base = if class == 1 { self.r[src] } else { self.r[dst] };
        let address = base.wrapping_add(insn.offset as u64);
        let end = address.wrapping_add(len as u64);
        if self.undo.is_some() && end <= UNMAPPED {
            // The load never gets a value. Zero is as good as any.
            assert_eq!(class, 1);
            self.r[dst] = 0;
            return;
        }
        let is_in = |range: &Range<u64>| range.start <= address && end <= range.end;
        assert!(
            self.bounds.iter().any(is_in)
                || is_in(&self.stack)
                || self.undo.is_some() && is_in(&self.guarded),
            "instruction {here} touches {len} bytes at {address:#x}, outside of {:x?}{}",
            self.bounds,
            match self.undo {
                Some(_) => ", on a mispredicted branch",
                None => "",
            }
        );
        // SAFETY: The range was just checked.
        let bytes = unsafe { read(address, len) };
        if class == 1 {
            self.r[dst] = bytes;
            // The load of a frame's first word, the return site, starts the search.
            self.returns = self.nests
                && dst == 0
                && src == 9
                && usize::try_from(insn.offset) == Ok(size_of::<Machine>());
            return;
        }
        if let Some(undo) = &mut self.undo {
            undo.push((address, bytes, len));
        }
        let value = match class {
            2 => i64::from(insn.imm) as u64,
            _ => self.r[src],
        };
        // SAFETY: The range was just checked.
        unsafe { write(address, value, len) };
    }
}

/// The distance of an unconditional jump.
fn distance(insn: Insn) -> Option<i64> {
    match insn.code {
        0x05 => Some(insn.offset.into()),
        0x06 => Some(insn.imm.into()),
        _ => None,
    }
}

/// # Safety
///
/// `len` bytes are valid for reads. `len` is at most 8.
unsafe fn read(address: u64, len: usize) -> u64 {
    let mut word = [0; 8];
    // SAFETY: By the contract they are valid for reads, and nobody else writes to them.
    unsafe { std::ptr::copy_nonoverlapping(address as *const u8, word.as_mut_ptr(), len) };
    u64::from_le_bytes(word)
}

/// # Safety
///
/// `len` bytes are valid for writes. `len` is at most 8.
unsafe fn write(address: u64, value: u64, len: usize) {
    let word = value.to_le_bytes();
    // SAFETY: By the contract they are valid for writes, and nobody else accesses them meanwhile.
    unsafe { std::ptr::copy_nonoverlapping(word.as_ptr(), address as *mut u8, len) };
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

/// A quotient or remainder. A divisor of zero is only allowed on a wrong path. The result is then
/// the worst that the divider may leave.
fn divided<T>(result: Option<T>, is_wrong: bool, worst: T) -> T {
    assert!(result.is_some() || is_wrong, "division by zero");
    result.unwrap_or(worst)
}

fn alu32(op: u8, a: u32, b: u32, is_wrong: bool) -> u32 {
    match op {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x30 => divided(a.checked_div(b), is_wrong, u32::MAX),
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a.checked_shl(b).expect("at most 31"),
        0x70 => a.checked_shr(b).expect("at most 31"),
        0x90 => divided(a.checked_rem(b), is_wrong, u32::MAX),
        0xa0 => a ^ b,
        0xb0 => b,
        0xc0 => (a as i32).checked_shr(b).expect("at most 31") as u32,
        _ => panic!("operation {op:#x}"),
    }
}

fn alu64(op: u8, a: u64, b: u64, is_wrong: bool) -> u64 {
    let by = u32::try_from(b).unwrap_or(u32::MAX);
    match op {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x30 => divided(a.checked_div(b), is_wrong, u64::MAX),
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a.checked_shl(by).expect("at most 63"),
        0x70 => a.checked_shr(by).expect("at most 63"),
        0x90 => divided(a.checked_rem(b), is_wrong, u64::MAX),
        0xa0 => a ^ b,
        0xb0 => b,
        0xc0 => (a as i64).checked_shr(by).expect("at most 63") as u64,
        _ => panic!("operation {op:#x}"),
    }
}
