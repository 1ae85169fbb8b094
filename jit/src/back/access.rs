// SPDX-License-Identifier: GPL-2.0-only
//! Accesses to the linear memory and to globals: bounds, and masks against speculation.

use nf_wasm_shared::abi::trap::Trap;

use super::allocation::Location;
use super::function::Emitter;
use super::insn::{alu, load, store, Alu, Jump, Reg, Size, Source, ALU32, JMP, R0, R1, R7};
use crate::ir::{Access, Extent, Mask, Place, Value, Var, Width};
use crate::machine::global_offset;

fn size(bytes: u8) -> Size {
    match bytes {
        1 => Size::B1,
        2 => Size::B2,
        4 => Size::B4,
        _ => Size::B8,
    }
}

impl Emitter<'_, '_> {
    /// The highest base at which the extent still fits.
    fn last(&self, extent: Extent) -> u64 {
        // The front end checked that the extent fits into memory, which has at most 4 MiB.
        self.program.limit() - self.function.extents.bytes(extent)
    }

    pub(super) fn check(&mut self, base: Var, extent: Extent) {
        let outside = self.program.trap(Trap::MemoryOutOfBounds);
        let last = Source::Imm(self.last(extent) as i32);
        let base = self.in_register(Value::Var(base), R0);
        self.asm().branch(JMP, Jump::Gt, base, last, outside);
    }

    pub(super) fn address(&mut self, to: Var, base: Value, offset: u32, mask: Mask) {
        if self.location(to) == Location::Nowhere {
            return;
        }
        let target = self.target(to);
        // Under speculation, a load from the frame may return an older value.
        let comes_from_frame =
            matches!(base, Value::Var(var) if !matches!(self.location(var), Location::Reg(_)));
        let mut offset = Source::Imm(offset as i32);
        match mask {
            Mask::Constant => self.alu64(Alu::Mov, target, Source::Reg(R7)),
            _ => self.set(target, base),
        }
        match mask {
            Mask::Bound(max) if comes_from_frame => self.limit(target, max),
            Mask::Constant | Mask::Bound(_) => {}
            Mask::Extent(extent) => self.limit(target, self.last(extent)),
            Mask::Memory => {
                if offset != Source::Imm(0) {
                    self.push(alu(ALU32, Alu::Add, target, offset));
                    offset = Source::Imm(0);
                }
                self.limit(target, self.program.environment.memory_bytes - 1);
            }
        }
        if mask != Mask::Constant {
            self.alu64(Alu::Add, target, Source::Reg(R7));
        }
        if offset != Source::Imm(0) {
            self.alu64(Alu::Add, target, offset);
        }
        self.done(to);
    }

    /// Changes `reg` to a value of at most `last` if its lower half is more than that, without a
    /// branch that could be mispredicted. Also clears the upper half, which may not be 0 if a call
    /// was mispredicted.
    fn limit(&mut self, reg: Reg, last: u64) {
        if (last + 1).is_power_of_two() {
            return self.push(alu(ALU32, Alu::And, reg, Source::Imm(last as i32)));
        }
        self.push(alu(ALU32, Alu::Mov, R1, Source::Reg(reg)));
        self.alu64(Alu::Sub, R1, Source::Imm(last as i32 + 1));
        // The upper half of a negative difference is 32 ones.
        self.alu64(Alu::Rsh, R1, Source::Imm(32));
        self.alu64(Alu::And, reg, Source::Reg(R1));
    }

    pub(super) fn packet(&mut self, to: Var) {
        if self.location(to) == Location::Nowhere {
            return;
        }
        let target = self.target(to);
        self.program.packet(target);
        self.done(to);
    }

    pub(super) fn packet_address(&mut self, to: Var, base: Value, less: u32, extent: Extent) {
        let outside = self.program.trap(Trap::MemoryOutOfBounds);
        let target = self.target(to);
        let less = less.wrapping_add(self.function.lowered(to) as u32);
        // The upper half becomes 0. A base below `less` wraps around, and fails the check below.
        if less == 0 {
            let base = self.in_register(base, target);
            self.push(alu(ALU32, Alu::Mov, target, Source::Reg(base)));
        } else {
            self.set(target, base);
            let less = Source::Imm(less.wrapping_neg() as i32);
            self.push(alu(ALU32, Alu::Add, target, less));
        }
        self.program.packet(R1);
        self.alu64(Alu::Add, target, Source::Reg(R1));
        // The sum is negative if the packet has all bytes.
        self.program.minus_end(R1);
        self.alu64(Alu::Add, R1, Source::Reg(target));
        // A window has less than 65,536 bytes.
        let after = self.function.extents.bytes(extent) as i32 - 1;
        if after != 0 {
            self.alu64(Alu::Add, R1, Source::Imm(after));
        }
        let zero = Source::Imm(0);
        self.asm().branch(JMP, Jump::Sge, R1, zero, outside);
        // The address becomes 0 if the check was mispredicted. Nothing is mapped there.
        self.alu64(Alu::Arsh, R1, Source::Imm(63));
        self.alu64(Alu::And, target, Source::Reg(R1));
        self.done(to);
    }

    /// The register with the address of an access.
    fn base_of(&mut self, place: Place, scratch: Reg) -> Reg {
        match place.address {
            Some(address) => self.in_register(Value::Var(address), scratch),
            None => R7,
        }
    }

    pub(super) fn load(&mut self, to: Var, access: Access, place: Place) {
        if self.location(to) == Location::Nowhere {
            return;
        }
        let base = self.base_of(place, R1);
        let target = self.target(to);
        let offset = place.offset + place.address.map_or(0, |it| self.function.lowered(it));
        self.push(load(size(access.bytes), target, base, offset));
        if let Some(width) = access.signed {
            self.extend_register(target, width, i32::from(access.bytes) * 8);
        }
        self.done(to);
    }

    pub(super) fn store(&mut self, from: Value, bytes: u8, place: Place) {
        let base = self.base_of(place, R1);
        let width = if bytes == 8 { Width::W64 } else { Width::W32 };
        let scratch = if base == R0 { R1 } else { R0 };
        let source = self.source(width, from, scratch);
        self.push(store(size(bytes), base, place.offset, source));
    }

    pub(super) fn global_get(&mut self, to: Var, global: u32) {
        if self.location(to) == Location::Nowhere {
            return;
        }
        let machine = self.program.machine_in(R1);
        let target = self.target(to);
        let offset = global_offset(global) as i16;
        self.push(load(Size::B8, target, machine, offset));
        self.done(to);
    }

    pub(super) fn global_set(&mut self, global: u32, from: Value) {
        let machine = self.program.machine_in(R1);
        let from = self.in_register(from, R0);
        let offset = global_offset(global) as i16;
        self.push(store(Size::B8, machine, offset, Source::Reg(from)));
    }
}
