// SPDX-License-Identifier: GPL-2.0-only
//! eBPF instructions, in the layout of the kernel's `struct bpf_insn`.

/// One instruction, or half of a 64-bit constant.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// The operation, and the kinds of its operands.
    pub code: u8,
    /// Destination in the low half, source in the high half.
    pub registers: u8,
    /// Offset of an address in bytes, or of a jump in instructions.
    pub offset: i16,
    /// A constant, or the distance of a long jump.
    pub imm: i32,
}

impl Insn {
    /// Both registers. An unused one is R0.
    pub(crate) fn used(self) -> [u8; 2] {
        [self.registers & 15, self.registers >> 4]
    }

    /// The register that it writes. A call is not considered.
    pub(crate) fn written(self) -> Option<Reg> {
        let destination = Reg(self.registers & 15);
        matches!(self.code & 7, LD | LDX | ALU32 | ALU64).then_some(destination)
    }

    /// If it loads or stores a word at a constant distance from R9: the register, or that of no
    /// number if the word is a constant.
    pub(crate) fn word_of_frame(self) -> Option<(Access, u8)> {
        const NONE: u8 = 0xff;
        let word = MEM | Size::B8 as u8;
        let [destination, source] = self.used();
        match self.code {
            code if code == LDX | word && source == R9.0 => Some((Access::Load, destination)),
            code if code == STX | word && destination == R9.0 => Some((Access::Store, source)),
            code if code == ST | word && destination == R9.0 => Some((Access::Store, NONE)),
            _ => None,
        }
    }

    /// Whether a jump depends on a comparison.
    pub(crate) fn is_conditional(self) -> bool {
        self.code != JMP | Jump::Always as u8
    }

    /// Renames the registers.
    pub(crate) fn rename(&mut self, names: &[u8; 16]) {
        let [destination, source] = self.used().map(|reg| names[reg as usize]);
        self.registers = destination | (source << 4);
    }
}

/// The kind of an access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Load,
    Store,
}

/// An eBPF register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reg(pub(crate) u8);

pub(crate) const R0: Reg = Reg(0);
pub(crate) const R1: Reg = Reg(1);
pub(crate) const R2: Reg = Reg(2);
pub(crate) const R3: Reg = Reg(3);
pub(crate) const R4: Reg = Reg(4);
pub(crate) const R5: Reg = Reg(5);
pub(crate) const R6: Reg = Reg(6);
pub(crate) const R7: Reg = Reg(7);
pub(crate) const R8: Reg = Reg(8);
pub(crate) const R9: Reg = Reg(9);
pub(crate) const R10: Reg = Reg(10);

/// A source operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Reg(Reg),
    /// 64-bit operations sign-extend it.
    Imm(i32),
}

// Classes.
const LD: u8 = 0x00;
const LDX: u8 = 0x01;
const ST: u8 = 0x02;
const STX: u8 = 0x03;
pub(crate) const ALU32: u8 = 0x04;
pub(crate) const JMP: u8 = 0x05;
pub(crate) const JMP32: u8 = 0x06;
pub(crate) const ALU64: u8 = 0x07;
// The operand is a register.
const X: u8 = 0x08;
// Addressing.
const IMM: u8 = 0x00;
const MEM: u8 = 0x60;

/// Of `ALU32`: swaps the bytes on a little-endian machine.
const TO_BIG_ENDIAN: u8 = 0xd0 | X;

/// Operations of `ALU32` and `ALU64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    Lsh = 0x60,
    Rsh = 0x70,
    Mod = 0x90,
    Xor = 0xa0,
    Mov = 0xb0,
    Arsh = 0xc0,
}

/// Conditions of `JMP` and `JMP32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Jump {
    Always = 0x00,
    Eq = 0x10,
    Gt = 0x20,
    Ge = 0x30,
    Ne = 0x50,
    Sgt = 0x60,
    Sge = 0x70,
    Call = 0x80,
    Exit = 0x90,
    Lt = 0xa0,
    Le = 0xb0,
    Slt = 0xc0,
    Sle = 0xd0,
}

impl Jump {
    pub(crate) fn inverted(self) -> Self {
        match self {
            Jump::Eq => Jump::Ne,
            Jump::Ne => Jump::Eq,
            Jump::Gt => Jump::Le,
            Jump::Le => Jump::Gt,
            Jump::Ge => Jump::Lt,
            Jump::Lt => Jump::Ge,
            Jump::Sgt => Jump::Sle,
            Jump::Sle => Jump::Sgt,
            Jump::Sge => Jump::Slt,
            Jump::Slt => Jump::Sge,
            Jump::Always | Jump::Call | Jump::Exit => self,
        }
    }
}

/// Size of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Size {
    B1 = 0x10,
    B2 = 0x08,
    B4 = 0x00,
    B8 = 0x18,
}

fn insn(code: u8, dst: Reg, src: Reg, offset: i16, imm: i32) -> Insn {
    Insn {
        code,
        registers: dst.0 | (src.0 << 4),
        offset,
        imm,
    }
}

fn with_source(code: u8, dst: Reg, source: Source, offset: i16) -> Insn {
    match source {
        Source::Reg(src) => insn(code | X, dst, src, offset, 0),
        Source::Imm(imm) => insn(code, dst, R0, offset, imm),
    }
}

/// `class` is [`ALU32`] or [`ALU64`].
pub(crate) fn alu(class: u8, op: Alu, dst: Reg, source: Source) -> Insn {
    with_source(class | op as u8, dst, source, 0)
}

/// Reverses the low `bits` bits, and clears the others.
pub(crate) fn big_endian(reg: Reg, bits: i32) -> Insn {
    insn(ALU32 | TO_BIG_ENDIAN, reg, R0, 0, bits)
}

/// `class` is [`JMP`] or [`JMP32`]. The distance is filled in later.
pub(crate) fn jump(class: u8, condition: Jump, dst: Reg, source: Source) -> Insn {
    with_source(class | condition as u8, dst, source, 0)
}

pub(crate) fn load(size: Size, dst: Reg, base: Reg, offset: i16) -> Insn {
    insn(LDX | MEM | size as u8, dst, base, offset, 0)
}

pub(crate) fn store(size: Size, base: Reg, offset: i16, source: Source) -> Insn {
    match source {
        Source::Reg(src) => insn(STX | MEM | size as u8, base, src, offset, 0),
        Source::Imm(imm) => insn(ST | MEM | size as u8, base, R0, offset, imm),
    }
}

/// Both halves of a 64-bit constant.
pub(crate) fn constant(dst: Reg, value: u64) -> [Insn; 2] {
    [
        insn(LD | IMM | Size::B8 as u8, dst, R0, 0, value as i32),
        insn(0, R0, R0, 0, (value >> 32) as i32),
    ]
}

/// A call of the helper with this number.
pub(crate) fn call(helper: i32) -> Insn {
    insn(JMP | Jump::Call as u8, R0, R0, 0, helper)
}

pub(crate) fn exit() -> Insn {
    insn(JMP | Jump::Exit as u8, R0, R0, 0, 0)
}

/// A jump whose distance is in `imm`.
pub(crate) fn long_jump(distance: i32) -> Insn {
    insn(JMP32 | Jump::Always as u8, R0, R0, 0, distance)
}
