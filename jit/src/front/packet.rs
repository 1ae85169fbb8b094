// SPDX-License-Identifier: GPL-2.0-only
//! Turns a filter's loads from the window into loads from the packet in place.
//!
//! For a constant address it is known whether it is in the window. For others `pointers.rs`
//! guesses, and compiled code checks the guess.

use super::known::{Address, Base, Reach, Space, Sum};
use super::memory::{sum_of, REACH};
use super::Builder;
use crate::ir::{BlockId, Op, Place, Value, Var};
use crate::pointers::leaves_pointer;
use crate::Buffer;

/// Bytes of a word of the context.
const WORD: u64 = 4;
/// Bytes that an earlier check is extended by for an access that may not be reached.
const FURTHER: i64 = 8;

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
            Value::Var(var) => Some(self.place_by_pointer(buffer, var, offset, bytes)),
        }
    }

    /// As [`Self::place_in_packet`], for a base that points into the window.
    fn place_by_pointer(&mut self, buffer: Buffer, base: Var, offset: u64, bytes: u64) -> Place {
        let value = Value::Var(base);
        let sum = self.sum(value);
        let key = (sum, Space::Packet);
        let is_kept = self.is_kept(value) || self.is_kept(sum.root);
        if offset + bytes > buffer.snaplen.into() || offset >= REACH {
            return self.no_place();
        }
        let (offset, bytes) = (offset as i64, bytes as i64);
        if let Some(place) = self.place_by_earlier(buffer, key, offset, bytes) {
            self.drop_sum(value);
            return place;
        }
        let address = self.packet_address(buffer, base, (key, is_kept), (offset + bytes) as u64);
        Place {
            address: Some(address),
            offset: offset as i16,
        }
    }

    /// The place of an access to `bytes` bytes at `key + offset` by an earlier address, if there is
    /// one near to it. The base of that address is in the packet, so the sum does not wrap around.
    /// If the address has to reach further up or down, its check changes. This may bail out where
    /// the packet has the bytes that are needed up to here, which is permitted.
    fn place_by_earlier(
        &mut self,
        buffer: Buffer,
        key: Base,
        offset: i64,
        bytes: i64,
    ) -> Option<Place> {
        let around = self.known.around(key, FURTHER, REACH as i64);
        let (address, extent, rises, distance) = around?;
        let at = offset + distance;
        let extents = &mut self.function.extents;
        let lowered = i64::from(self.function.lowered.get(&address).copied().unwrap_or(0));
        let end = extents.bytes(extent) as i64 - lowered;
        let (lower, higher) = (lowered.max(-at), end.max(at + bytes));
        let is_near = rises || higher <= end + FURTHER;
        let fits = at < REACH as i64 && lower + higher <= i64::from(buffer.snaplen);
        if lower > FURTHER || !is_near || !fits {
            return None;
        }
        extents.raise(extent, (lower + higher) as u64);
        if lower > lowered {
            self.function.lowered.insert(address, lower as i16);
        }
        Some(Place {
            address: Some(address),
            offset: at as i16,
        })
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
            offset: (start - window) as i16,
        })
    }

    /// The native address of the packet.
    fn packet(&mut self, buffer: Buffer) -> Var {
        let window = Value::Const(buffer.window.into());
        let base = (Sum::of(window), Space::Packet);
        if let Some(known) = self.known.address(base, 0, 0, &self.function.extents) {
            return known;
        }
        let to = self.new_var();
        self.emit(Op::Packet { to });
        // The caller has checked that the packet has the bytes that are read from here.
        let address = Address::new(0, Reach::Bytes(u64::MAX), to);
        self.known.keep_address(base, window, address);
        to
    }

    /// The native address of the packet byte that `base` points to, checked for `bytes` bytes.
    fn packet_address(
        &mut self,
        buffer: Buffer,
        base: Var,
        (key, is_kept): (Base, bool),
        bytes: u64,
    ) -> Var {
        let extent = self.function.extents.add(bytes);
        let (base, less) = self.without_sum(base, buffer.window);
        let to = self.new_var();
        self.emit(Op::PacketAddress {
            to,
            base,
            less,
            extent,
        });
        if is_kept {
            self.known.check(key, base, extent);
            let address = Address::new(0, Reach::Extent(extent), to);
            self.known.keep_address(key, base, address);
        }
        to
    }

    /// If the last operation computed `base` as a sum with a constant, removes it and includes the
    /// constant in `less`.
    fn without_sum(&mut self, base: Var, less: u32) -> (Value, u32) {
        let found = self.ops().last().and_then(|op| sum_of(op, base));
        if let (Some((summand, constant)), true) = (found, base >= self.function.locals) {
            // An operand has one user.
            self.ops().pop();
            return (summand, less.wrapping_sub(constant));
        }
        (Value::Var(base), less)
    }
}
