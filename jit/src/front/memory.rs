// SPDX-License-Identifier: GPL-2.0-only
//! Accesses to linear memory: which checks they need, and which were made already.
//!
//! Memory does not grow while packets are decided, so its size is a constant. Along a way that has
//! no label on it, what was checked of a local stays checked until the local changes, and its native
//! address is computed once.

use alloc::vec;
use alloc::vec::Vec;

use nf_wasm_abi::trap::Trap;

use super::Builder;
use crate::form::{Op, Place, Value, Var};

/// How far a place may be from its address: what a load's or store's offset can say.
pub(super) const REACH: u64 = 1 << 15;
/// Addresses that are kept in mind at a time.
const MOST: usize = 8;

/// A local of which was checked that it is an address.
#[derive(Clone, Debug)]
struct Checked {
    local: Var,
    /// Bytes that are there.
    extent: u64,
    /// The operation of this block that checked it, and those that computed addresses, while they may
    /// still be made to check more: nothing has happened since then that could be seen after a trap.
    ops: Option<Vec<usize>>,
}

/// A native address that was computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addressed {
    pub(super) base: Value,
    /// Added to the base.
    pub(super) offset: u64,
    /// Bytes from the base on that it is good for, speculation included.
    pub(super) extent: u64,
    pub(super) address: Var,
}

/// What is known at a place in the code.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    checked: Vec<Checked>,
    addressed: Vec<Addressed>,
    /// Locals, and the most that they can be: by how they were computed, not by which way was taken.
    bounds: Vec<(Var, u64)>,
    /// Locals that are constants.
    constants: Vec<(Var, i64)>,
}

impl Known {
    /// A local changes.
    pub(super) fn forget(&mut self, local: Var) {
        self.checked.retain(|it| it.local != local);
        self.addressed.retain(|it| it.base != Value::Var(local));
        self.bounds.retain(|it| it.0 != local);
        self.constants.retain(|it| it.0 != local);
    }

    /// A local was given a value of which this is known.
    pub(super) fn learn(&mut self, local: Var, value: Value, most: u64) {
        fn keep<T>(list: &mut Vec<T>, item: T) {
            if list.len() == MOST {
                list.remove(0);
            }
            list.push(item);
        }
        match value {
            Value::Const(value) => keep(&mut self.constants, (local, value)),
            Value::Var(_) if most < u64::from(u32::MAX) => keep(&mut self.bounds, (local, most)),
            Value::Var(_) => {}
        }
    }

    /// An address that was computed and is good for this.
    pub(super) fn address(&self, base: Value, offset: u64, extent: u64) -> Option<Var> {
        let mut addressed = self.addressed.iter();
        let found =
            addressed.find(|it| (it.base, it.offset) == (base, offset) && it.extent >= extent);
        found.map(|it| it.address)
    }

    /// An address was computed.
    pub(super) fn keep_address(&mut self, addressed: Addressed) {
        if self.addressed.len() == MOST {
            self.addressed.remove(0);
        }
        self.addressed.push(addressed);
    }

    /// The constant that a local is.
    pub(super) fn constant(&self, local: Var) -> Option<i64> {
        let found = self.constants.iter().find(|it| it.0 == local);
        found.map(|(_, value)| *value)
    }

    /// The most that a local can be.
    pub(super) fn bound(&self, local: Var) -> Option<u64> {
        let found = self.bounds.iter().find(|it| it.0 == local);
        found.map(|(_, most)| *most)
    }

    /// Something happens that can be seen after a trap, or a new block begins.
    pub(super) fn effect(&mut self) {
        for checked in &mut self.checked {
            checked.ops = None;
        }
    }
}

impl Builder<'_, '_> {
    /// The place of an access to `bytes` bytes at `base + offset`, after its check.
    pub(super) fn place(&mut self, base: Value, offset: u64, bytes: u64) -> Place {
        if let Some(place) = self.place_in_packet(base, offset, bytes) {
            return place;
        }
        // Both are less than 2^32.
        let (base, offset, limit) = match base {
            Value::Const(base) => (Value::Const(0), base as u64 + offset, self.memory_bytes),
            Value::Var(_) => (base, offset, self.limit),
        };
        let extent = offset + bytes;
        if extent > limit {
            return self.no_place();
        }
        let most = self.most(base);
        let is_bounded = most <= limit - extent;
        if let (Value::Var(base), false) = (base, is_bounded) {
            self.check(base, extent);
        }
        let near = offset % REACH;
        let is_direct = base == Value::Const(0) && offset == near;
        let address = (!is_direct).then(|| self.address(base, offset - near, extent, is_bounded));
        Place {
            address,
            offset: near as u16,
        }
    }

    /// What lies outside: a trap, and some place that is never reached.
    pub(super) fn no_place(&mut self) -> Place {
        self.emit(Op::Trap(Trap::MemoryOutOfBounds));
        Place {
            address: None,
            offset: 0,
        }
    }

    /// Sees to it that `extent` bytes from `base` on are checked.
    fn check(&mut self, base: Var, extent: u64) {
        let at = self.ops().len();
        let ops = &mut self.function.blocks[self.current as usize].ops;
        let checked = &mut self.known.checked;
        if let Some(known) = checked.iter_mut().find(|it| it.local == base) {
            if known.extent >= extent {
                return;
            }
            known.extent = extent;
            if let Some(earlier) = &known.ops {
                for at in earlier {
                    if let Op::Check { extent: old, .. } | Op::Address { extent: old, .. } =
                        &mut ops[*at]
                    {
                        *old = extent;
                    }
                }
                for known in &mut self.known.addressed {
                    if known.base == Value::Var(base) {
                        known.extent = extent;
                    }
                }
                return;
            }
            known.ops = Some(vec![at]);
            // What was computed before is good for less.
            let addressed = &mut self.known.addressed;
            addressed.retain(|it| it.base != Value::Var(base));
        } else if base < self.function.locals {
            if checked.len() == MOST {
                checked.remove(0);
            }
            checked.push(Checked {
                local: base,
                extent,
                ops: Some(vec![at]),
            });
        }
        ops.push(Op::Check { base, extent });
    }

    /// The native address of `base + offset`, for accesses up to `extent` bytes from the base on.
    fn address(&mut self, base: Value, offset: u64, extent: u64, is_bounded: bool) -> Var {
        if let Some(known) = self.known.address(base, offset, extent) {
            return known;
        }
        // What was checked may be more than this access needs.
        let checked = self.known.checked.iter_mut();
        let mut checked = checked.filter(|it| base == Value::Var(it.local));
        let mut good_for = extent;
        if let Some(checked) = checked.next() {
            good_for = checked.extent;
            let at = self.function.blocks[self.current as usize].ops.len();
            if let Some(ops) = &mut checked.ops {
                ops.push(at);
            }
        }
        let address = self.new_var();
        self.emit(Op::Address {
            to: address,
            base,
            // Within the memory, of which there are few megabytes.
            offset: offset as u32,
            extent: good_for,
            is_bounded,
        });
        // Other variables have one user.
        if !matches!(base, Value::Var(var) if var >= self.function.locals) {
            self.known.keep_address(Addressed {
                base,
                offset,
                // A constant is good for all that there is.
                extent: if base == Value::Const(0) {
                    u64::MAX
                } else {
                    good_for
                },
                address,
            });
        }
        address
    }
}

#[cfg(test)]
mod tests {
    use crate::form::Op;
    use crate::testing::{build, ops};
    use std::format;
    use std::vec::Vec;

    /// The extents that are checked.
    fn extents(body: &str) -> Vec<u64> {
        let extent = |op: &Op| match op {
            Op::Check { extent, .. } => Some(*extent),
            _ => None,
        };
        ops(&build(body)).iter().filter_map(extent).collect()
    }

    const NEAR: &str = "(drop (i32.load8_u (local.get 0)))";
    const FAR: &str = "(drop (i32.load offset=96 (local.get 0)))";
    const END: &str = "(i32.const 1)";

    #[test]
    fn one_check_is_for_all_that_follows() {
        assert_eq!(extents(&[NEAR, FAR, NEAR, END].concat()), [100]);
        // What can be seen after a trap has to be done before that.
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
    fn what_lies_outside_traps() {
        let ops = ops(&build("(i32.load offset=65533 (local.get 0))"));
        assert!(matches!(ops[0], Op::Trap(_)));
    }
}
