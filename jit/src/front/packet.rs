// SPDX-License-Identifier: GPL-2.0-only
//! Turns a filter's loads from the window into loads from the packet in place.
//!
//! For a constant address it is known whether it is in the window. For others `pointers.rs`
//! guesses, and compiled code checks the guess.

use super::known::{Address, Reach, Space};
use super::memory::REACH;
use super::Builder;
use crate::ir::{Binary, BlockId, Op, Place, Value, Var, Width};
use crate::pointers::leaves_pointer;
use crate::Buffer;

/// Bytes of a word of the context.
const WORD: u64 = 4;

impl Builder<'_, '_> {
    /// Whether a value is likely to be an address in the window.
    fn points(&self, value: Value) -> bool {
        let Some(in_place) = self.in_place else {
            return false;
        };
        match value {
            Value::Const(value) => in_place.buffer.has_pointer(value),
            Value::Var(var) => self.pointers.has(var as usize),
        }
    }

    /// Records whether the result of an operation is likely to be an address in the window.
    #[inline]
    pub(super) fn note_pointer(&mut self, to: Var, op: &Op) {
        if self.in_place.is_some() {
            let points = leaves_pointer(op, |value| self.points(value));
            self.pointers.set(to as usize, points);
        }
    }

    /// As [`Self::note_pointer`], for a result of a frame, on one of several paths to the frame's
    /// end.
    pub(super) fn note_pointer_on_a_way(&mut self, to: Var, op: &Op) {
        let points = self.points(Value::Var(to));
        if !points {
            self.note_pointer(to, op);
        }
    }

    /// Restores the guess for locals at the beginning of a block.
    pub(super) fn enter_pointers(&mut self, block: BlockId) {
        if let Some(in_place) = self.in_place {
            let locals = self.function.locals as usize;
            self.pointers.copy(in_place.pointers(block), locals);
        }
    }

    /// The place of an access to `bytes` bytes at `base + offset`, if packets are read in place and
    /// the access is not one to linear memory.
    pub(super) fn place_in_packet(
        &mut self,
        base: Value,
        offset: u64,
        bytes: u64,
    ) -> Option<Place> {
        let buffer = self.in_place?.buffer;
        match base {
            Value::Const(base) => self.constant_place(buffer, base as u64 + offset, bytes),
            Value::Var(_) if !self.points(base) => None,
            Value::Var(_) if offset + bytes > buffer.snaplen.into() || offset >= REACH => {
                Some(self.no_place())
            }
            Value::Var(base) => Some(Place {
                address: Some(self.packet_address(buffer, base, offset + bytes)),
                offset: offset as u16,
            }),
        }
    }

    fn constant_place(&mut self, buffer: Buffer, start: u64, bytes: u64) -> Option<Place> {
        let (context, window) = (u64::from(buffer.context), u64::from(buffer.window));
        let end = start + bytes;
        if end <= context {
            return None;
        }
        if context <= start && end <= window {
            for word in (start - context) / WORD..(end - context).div_ceil(WORD) {
                self.function.in_place.context |= 1 << word;
            }
            return None;
        }
        if start < window || end > window + u64::from(buffer.snaplen) || start - window >= REACH {
            return Some(self.no_place());
        }
        let reads = &mut self.function.in_place;
        reads.window = reads.window.max((end - window) as u32);
        Some(Place {
            address: Some(self.packet(buffer)),
            offset: (start - window) as u16,
        })
    }

    /// The native address of the packet.
    fn packet(&mut self, buffer: Buffer) -> Var {
        let base = (Value::Const(buffer.window.into()), Space::Packet);
        if let Some(known) = self.known.address(base, 0, 0, &self.function.extents) {
            return known;
        }
        let to = self.new_var();
        self.emit(Op::Packet { to });
        // The caller has checked that the packet has the bytes that are read from here.
        let address = Address::new(0, Reach::Bytes(u64::MAX), to);
        self.known.keep_address(base, address);
        to
    }

    /// The native address of the packet byte that `base` points to, checked for `bytes` bytes.
    fn packet_address(&mut self, buffer: Buffer, base: Var, bytes: u64) -> Var {
        let key = (Value::Var(base), Space::Packet);
        let extents = &mut self.function.extents;
        if self.known.checked(key, bytes, extents).is_some() {
            if let Some(known) = self.known.address(key, 0, bytes, extents) {
                return known;
            }
        }
        let extent = extents.add(bytes);
        let (base, less) = self.without_sum(base, buffer.window);
        let to = self.new_var();
        self.emit(Op::PacketAddress {
            to,
            base,
            less,
            extent,
        });
        if self.is_kept(key.0) {
            self.known.check(key, extent);
            let address = Address::new(0, Reach::Extent(extent), to);
            self.known.keep_address(key, address);
        }
        to
    }

    /// If the last operation computed `base` as a sum with a constant, removes it and includes the
    /// constant in `less`.
    fn without_sum(&mut self, base: Var, less: u32) -> (Value, u32) {
        let locals = self.function.locals;
        if let Some(Op::Binary {
            op: Binary::Add,
            width: Width::W32,
            to,
            a,
            b,
        }) = self.ops().last().copied()
        {
            // An operand has one user.
            if to == base && base >= locals {
                if let (summand @ Value::Var(_), Value::Const(constant))
                | (Value::Const(constant), summand @ Value::Var(_)) = (a, b)
                {
                    self.ops().pop();
                    return (summand, less.wrapping_sub(constant as u32));
                }
            }
        }
        (Value::Var(base), less)
    }
}
