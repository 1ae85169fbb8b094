// SPDX-License-Identifier: GPL-2.0-only
//! Accesses to linear memory: emits bounds checks and addresses, and reuses earlier ones.
//!
//! Memory does not grow while packets are decided, so its size is a constant. Within a block, a
//! checked local stays checked until it changes, and its native address is computed once.
//!
//! A check and the addresses after it share one extent: the number of bytes, from the address in
//! the local on, that are checked, and that the addresses are masked for. A wider access raises the
//! extent, for the check and all these addresses, unless there was an effect since the check. If
//! there was one, a new check with its own extent follows. `known.rs` only reuses an address that
//! is masked for all bytes of an access.

use nf_wasm_shared::abi::trap::Trap;

use super::bounds::ones;
use super::known::{self, Address, Reach, Space, Sum};
use super::Builder;
use crate::ir::{Binary, Extent, Mask, Op, Place, Value, Var, Width};

/// The offset of a load or store from its address is below this.
pub(super) const REACH: u64 = 1 << 15;
/// The same for an address with [`Mask::Memory`]. Limits the guard behind the memory.
const REACH_IN_GUARD: u64 = 1 << 12;

/// The base of an access.
struct Base {
    /// What is known of it is recorded under this.
    key: known::Base,
    value: Value,
    /// Whether it may be used again.
    is_kept: bool,
}

impl Base {
    /// The beginning of the memory.
    fn constant() -> Self {
        let value = Value::Const(0);
        Base {
            key: (Sum::of(value), Space::Linear),
            value,
            is_kept: true,
        }
    }
}

/// If the operation computes `to` as a sum with a constant: the other summand, and the constant.
pub(super) fn sum_of(op: &Op, to: Var) -> Option<(Value, u32)> {
    match *op {
        Op::Binary {
            op: Binary::Add,
            width: Width::W32,
            to: of,
            a,
            b,
        } if of == to => match (a, b) {
            (root @ Value::Var(_), Value::Const(plus)) | (Value::Const(plus), root) => {
                Some((root, plus as u32))
            }
            _ => None,
        },
        Op::Binary {
            op: Binary::Sub,
            width: Width::W32,
            to: of,
            a: root @ Value::Var(_),
            b: Value::Const(less),
        } if of == to => Some((root, (less as u32).wrapping_neg())),
        _ => None,
    }
}

impl Builder<'_, '_> {
    /// Emits the check of an access to `bytes` bytes at `base + offset`. Returns its place.
    pub(super) fn place(&mut self, base: Value, offset: u64, bytes: u64) -> Place {
        if let Some(place) = self.place_in_packet(base, offset, bytes) {
            return place;
        }
        // Both are less than 2^32.
        let (base, offset, limit) = match base {
            Value::Const(base) => (Base::constant(), base as u64 + offset, self.memory_bytes),
            Value::Var(_) => {
                let (base, more) = self.base(base, offset + bytes);
                (base, offset + more, self.limit)
            }
        };
        let bytes = offset + bytes;
        if bytes > limit {
            return self.no_place();
        }
        let max = self.max(base.value);
        let mask = match base.value {
            Value::Const(_) => Mask::Constant,
            // A mask of all ones takes a single instruction.
            Value::Var(_) if ones(max) <= limit - bytes => Mask::Bound(ones(max)),
            Value::Var(_) if max <= limit - bytes => Mask::Bound(max),
            Value::Var(var) => {
                let extent = self.check(&base, var, bytes);
                match self.memory_bytes.is_power_of_two() {
                    true => Mask::Memory,
                    false => Mask::Extent(extent),
                }
            }
        };
        let near = match mask {
            Mask::Memory => offset % REACH_IN_GUARD,
            Mask::Constant | Mask::Bound(_) | Mask::Extent(_) => offset % REACH,
        };
        if mask == Mask::Memory {
            // The last byte of the memory, plus this.
            let guard = near + bytes - offset - 1;
            self.function.guard = self.function.guard.max(guard as u32);
        }
        let is_direct = base.value == Value::Const(0) && offset == near;
        let address = (!is_direct).then(|| self.address(&base, offset - near, bytes, mask));
        Place {
            address,
            offset: near as i16,
        }
    }

    /// The base for an access to `bytes` bytes from `value` on, and a number that is to be added to
    /// the offset. If the value is a sum, it may be the base of an earlier access.
    fn base(&mut self, value: Value, bytes: u64) -> (Base, u64) {
        let sum = self.sum(value);
        let is_kept = self.is_kept(value) || self.is_kept(sum.root);
        let with = |sum, value| Base {
            key: (sum, Space::Linear),
            value,
            is_kept,
        };
        let plus = u64::from(sum.plus);
        if plus != 0 && self.max(sum.root).saturating_add(plus + bytes) <= self.limit {
            // The sum does not wrap around.
            self.drop_sum(value);
            return (with(Sum::of(sum.root), sum.root), plus);
        }
        match self.known.near((sum, Space::Linear), REACH_IN_GUARD) {
            // The earlier base is in linear memory, so this sum does not wrap around.
            Some(((sum, _), earlier, distance)) => {
                if earlier != value {
                    self.drop_sum(value);
                }
                (with(sum, earlier), distance)
            }
            None => (with(sum, value), 0),
        }
    }

    /// A value as a sum.
    pub(super) fn sum(&mut self, value: Value) -> Sum {
        let Value::Var(var) = value else {
            return Sum::of(value);
        };
        if var < self.function.locals {
            return self.known.sum(var);
        }
        match self.ops().last().and_then(|op| sum_of(op, var)) {
            Some((Value::Var(root), plus)) if root < self.function.locals => {
                let sum = self.known.sum(root);
                Sum {
                    plus: sum.plus.wrapping_add(plus),
                    ..sum
                }
            }
            Some((root, plus)) => Sum { root, plus },
            None => Sum::of(value),
        }
    }

    /// Removes the operation that computed a popped operand as a sum, if it is the last one: the
    /// operand is not needed.
    pub(super) fn drop_sum(&mut self, value: Value) {
        if let (Value::Var(var), Some(op)) = (value, self.ops().last()) {
            if sum_of(op, var).is_some() && var >= self.function.locals {
                self.ops().pop();
                self.assert_one_user(var);
            }
        }
    }

    /// Emits a trap for an access that is out of bounds. Returns a place that is never used.
    pub(super) fn no_place(&mut self) -> Place {
        self.emit(Op::Trap(Trap::MemoryOutOfBounds));
        Place {
            address: None,
            offset: 0,
        }
    }

    /// Emits a check of `bytes` bytes from `base` on, or raises an earlier one. Returns its extent.
    fn check(&mut self, base: &Base, var: Var, bytes: u64) -> Extent {
        let extents = &mut self.function.extents;
        if let Some(extent) = self.known.checked(base.key, bytes, extents) {
            return extent;
        }
        let extent = extents.add(bytes);
        self.emit(Op::Check { base: var, extent });
        if base.is_kept {
            self.known.check(base.key, base.value, extent);
        }
        extent
    }

    /// The native address of `base + offset`, for accesses up to `bytes` bytes from the base on.
    fn address(&mut self, base: &Base, offset: u64, bytes: u64, mask: Mask) -> Var {
        let extents = &self.function.extents;
        if let Some(known) = self.known.address(base.key, offset, bytes, extents) {
            return known;
        }
        let to = self.new_var();
        self.emit(Op::Address {
            to,
            base: base.value,
            // The offset is within the memory, which has a few megabytes.
            offset: offset as u32,
            mask,
        });
        if base.is_kept {
            let reach = match mask {
                Mask::Constant => Reach::Bytes(u64::MAX),
                Mask::Bound(max) => Reach::Bytes(self.limit - max),
                Mask::Memory => Reach::Bytes(offset + REACH_IN_GUARD),
                Mask::Extent(extent) => Reach::Extent(extent),
            };
            let address = Address::new(offset, reach, to);
            self.known.keep_address(base.key, base.value, address);
        }
        to
    }

    /// Whether a base may be used again. Variables that are not locals have one user.
    pub(super) fn is_kept(&self, base: Value) -> bool {
        !matches!(base, Value::Var(var) if var >= self.function.locals)
    }
}

#[cfg(test)]
mod tests {
    use crate::ir::{Mask, Op};
    use crate::testing::{build, build_in, ops};
    use std::format;
    use std::vec::Vec;

    /// The extents of all checks.
    fn extents(body: &str) -> Vec<u64> {
        let function = build(body);
        let extent = |op: &Op| match op {
            Op::Check { extent, .. } => Some(function.extents.bytes(*extent)),
            _ => None,
        };
        ops(&function).iter().filter_map(extent).collect()
    }

    /// The masks of addresses, extents in bytes.
    fn masks(bytes: u64, body: &str) -> Vec<(char, u64)> {
        let function = build_in(bytes, body);
        let mask = |op: &Op| match op {
            Op::Address { mask, offset, .. } => Some(match mask {
                Mask::Constant => ('c', 0),
                Mask::Bound(max) => ('b', *max),
                Mask::Memory => ('m', (*offset).into()),
                Mask::Extent(extent) => ('e', function.extents.bytes(*extent)),
            }),
            _ => None,
        };
        ops(&function).iter().filter_map(mask).collect()
    }

    const NEAR: &str = "(drop (i32.load8_u (local.get 0)))";
    const FAR: &str = "(drop (i32.load offset=96 (local.get 0)))";
    const WIDE: &str = "(drop (i32.load offset=131072 (local.get 0)))";
    const END: &str = "(i32.const 1)";
    /// A size that is not a power of two.
    const PAGES: u64 = 3 << 16;

    #[test]
    fn one_check_is_for_all_that_follows() {
        assert_eq!(extents(&[NEAR, FAR, NEAR, END].concat()), [100]);
        // A store must take place before a later trap.
        let store = "(i32.store (i32.const 0) (i32.const 1))";
        assert_eq!(extents(&[NEAR, store, NEAR, END].concat()), [1]);
        assert_eq!(extents(&[NEAR, store, FAR, END].concat()), [1, 100]);
    }

    #[test]
    fn a_check_holds_until_the_local_changes_or_ways_meet() {
        let change = "(local.set 0 (local.get 1))";
        assert_eq!(extents(&[NEAR, change, NEAR, END].concat()), [1, 1]);
        let either = |then: &str| format!("(if (local.get 1) (then {then}))");
        assert_eq!(extents(&[NEAR, &either(NEAR), END].concat()), [1]);
        assert_eq!(extents(&[&either(NEAR), NEAR, END].concat()), [1, 1]);
    }

    #[test]
    fn an_address_is_used_for_what_it_is_masked_for() {
        let store = "(i32.store (i32.const 0) (i32.const 1))";
        // An address that is raised with its check is reused.
        assert_eq!(masks(PAGES, &[NEAR, FAR, NEAR, END].concat()), [('e', 100)]);
        // An address that was masked before another check does not reach as far.
        let body = [NEAR, store, FAR, NEAR, END].concat();
        assert_eq!(masks(PAGES, &body), [('e', 1), ('e', 100)]);
        let body = [FAR, store, NEAR, END].concat();
        assert_eq!(masks(PAGES, &body), [('e', 100)]);
        // An address without a mask reaches as far as its bound allows.
        let small = "(local.set 0 (i32.load16_u (i32.const 0)))";
        let body = [small, NEAR, FAR, NEAR, END].concat();
        assert_eq!(masks(PAGES, &body), [('b', 65_535)]);
        let body = [small, NEAR, WIDE, NEAR, END].concat();
        assert_eq!(masks(PAGES, &body), [('b', 65_535), ('e', 131_076)]);
    }

    #[test]
    fn memory_of_a_power_of_two_is_masked_as_a_whole() {
        let store = "(i32.store (i32.const 0) (i32.const 1))";
        // The guard is behind the memory, whatever was checked.
        let body = [NEAR, store, FAR, NEAR, END].concat();
        assert_eq!(masks(65_536, &body), [('m', 0)]);
        assert_eq!(build(&body).guard, 99);
        // The part of the offset that the guard does not cover is added before the mask.
        let far = "(drop (i32.load offset=8195 (local.get 0)))";
        let body = [NEAR, far, END].concat();
        assert_eq!(masks(65_536, &body), [('m', 0), ('m', 8_192)]);
        assert_eq!(build(&body).guard, 6);
        assert_eq!(
            build("(i32.load8_u offset=96 (i32.load8_u (i32.const 1)))").guard,
            0
        );
    }

    #[test]
    fn a_check_is_raised_by_one_write() {
        // Raises any number of operations: each of these addresses is a different one.
        let far = |at: u32| format!("(drop (i32.load8_u offset={at} (local.get 0)))");
        let body: std::string::String = (0..8_000).map(|at| far(at % 2 * 32_768 + at)).collect();
        let function = build_in(PAGES, &(body + END));
        let ops = ops(&function);
        let of = |op: &Op| match op {
            Op::Check { extent, .. } => Some(*extent),
            Op::Address {
                mask: Mask::Extent(extent),
                ..
            } => Some(*extent),
            _ => None,
        };
        let extents: Vec<_> = ops.iter().filter_map(of).collect();
        assert_eq!(extents.len(), 3);
        assert!(extents.iter().all(|it| *it == extents[0]));
        assert_eq!(function.extents.bytes(extents[0]), 32_768 + 8_000);
    }

    #[test]
    fn what_lies_outside_traps() {
        let ops = ops(&build("(i32.load offset=65533 (local.get 0))"));
        assert!(matches!(ops[0], Op::Trap(_)));
    }
}
