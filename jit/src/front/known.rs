// SPDX-License-Identifier: GPL-2.0-only
//! Facts about locals at a point in the code: constants, bounds, checked extents, addresses.

use alloc::vec::Vec;

use crate::ir::{Extent, Extents, Value, Var};

/// Maximum entries of each list.
const MAX_ENTRIES: usize = 8;
/// Maximum addresses that are recorded for one base.
const MAX_ADDRESSES: usize = 4;

/// The memory that an address points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Linear,
    /// A packet in place.
    Packet,
}

/// A number of 32 bits: the sum of a variable or a constant, and a constant. It may wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) root: Value,
    pub(super) plus: u32,
}

impl Sum {
    pub(super) fn of(root: Value) -> Self {
        Self { root, plus: 0 }
    }
}

/// The base of an address, and the memory that it is in.
pub(super) type Base = (Sum, Space);

/// How many bytes may be accessed through an address, counted from its base, also under
/// speculation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// A fixed number.
    Bytes(u64),
    /// The extent for which the address was masked where it was computed.
    Extent(Extent),
}

impl Reach {
    fn bytes(self, extents: &Extents) -> u64 {
        match self {
            Reach::Bytes(bytes) => bytes,
            Reach::Extent(extent) => extents.bytes(extent),
        }
    }
}

/// A computed native address. It is only reused through [`Self::reused`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    /// Added to the base.
    offset: u64,
    reach: Reach,
    var: Var,
}

impl Address {
    pub(super) fn new(offset: u64, reach: Reach, var: Var) -> Self {
        Self { offset, reach, var }
    }

    /// The address's variable, if the offset matches and the address reaches `bytes` bytes from the
    /// base on.
    fn reused(&self, offset: u64, bytes: u64, extents: &Extents) -> Option<Var> {
        let is_good = self.offset == offset && bytes <= self.reach.bytes(extents);
        is_good.then_some(self.var)
    }
}

/// All facts about a base.
#[derive(Clone, Debug)]
struct Pointer {
    base: Base,
    /// Its value.
    value: Value,
    /// The extent of the last check.
    checked: Option<Extent>,
    /// Whether the check can still be raised: there was no effect since.
    rises: bool,
    /// The addresses that were computed last.
    addresses: [Option<Address>; MAX_ADDRESSES],
}

/// The facts at a point in the code.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pointers: Vec<Pointer>,
    /// Locals and their upper limits, which follow from how they were computed, not from branches.
    bounds: Vec<(Var, u64)>,
    /// Locals that are constants.
    constants: Vec<(Var, i64)>,
    /// Locals that are sums of another variable.
    sums: Vec<(Var, Sum)>,
}

/// Adds an item. If the list is full, it replaces the oldest.
fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() == MAX_ENTRIES {
        list.remove(0);
    }
    list.push(item);
}

impl Known {
    /// Drops all facts about a local, because it changes.
    pub(super) fn forget(&mut self, local: Var) {
        let value = Value::Var(local);
        self.pointers
            .retain(|it| it.base.0.root != value && it.value != value);
        self.sums
            .retain(|(of, sum)| *of != local && sum.root != value);
        self.bounds.retain(|it| it.0 != local);
        self.constants.retain(|it| it.0 != local);
    }

    /// Records facts about a value that was assigned to a local.
    pub(super) fn learn(&mut self, local: Var, value: Value, max: u64) {
        match value {
            Value::Const(value) => keep(&mut self.constants, (local, value)),
            Value::Var(_) if max < u64::from(u32::MAX) => keep(&mut self.bounds, (local, max)),
            Value::Var(_) => {}
        }
    }

    fn pointer(&self, base: Base) -> Option<&Pointer> {
        self.pointers.iter().find(|it| it.base == base)
    }

    /// Records that a local was assigned a sum.
    pub(super) fn learn_sum(&mut self, local: Var, sum: Sum) {
        if sum.root != Value::Var(local) {
            keep(&mut self.sums, (local, sum));
        }
    }

    /// The local as a sum.
    pub(super) fn sum(&self, local: Var) -> Sum {
        let found = self.sums.iter().find(|it| it.0 == local);
        found.map_or(Sum::of(Value::Var(local)), |(_, sum)| *sum)
    }

    /// A base with facts from which a sum is less than `reach` bytes away, its value, and the
    /// distance.
    pub(super) fn near(&self, (sum, space): Base, reach: u64) -> Option<(Base, Value, u64)> {
        let is_near = |it: &&Pointer| it.base.1 == space && it.base.0.root == sum.root;
        let pointers = self.pointers.iter().filter(is_near);
        let distances = pointers.map(|it| {
            let distance = sum.plus.wrapping_sub(it.base.0.plus);
            (it.base, it.value, distance.into())
        });
        let nearest = distances.min_by_key(|it| it.2);
        nearest.filter(|it| it.2 < reach)
    }

    /// The address with facts from whose base a sum is at most `below` bytes down, or less than
    /// `above` bytes up: its variable, its extent, whether that can still be raised, and the
    /// distance.
    pub(super) fn around(
        &self,
        (sum, space): Base,
        below: i64,
        above: i64,
    ) -> Option<(Var, Extent, bool, i64)> {
        let is_near = |it: &&Pointer| it.base.1 == space && it.base.0.root == sum.root;
        self.pointers.iter().filter(is_near).find_map(|it| {
            let distance = i64::from(sum.plus.wrapping_sub(it.base.0.plus) as i32);
            let address = it.addresses.iter().flatten().next()?;
            let Reach::Extent(extent) = address.reach else {
                return None;
            };
            let is_there = (-below..above).contains(&distance);
            is_there.then_some((address.var, extent, it.rises, distance))
        })
    }

    fn pointer_mut(&mut self, base: Base, value: Value) -> &mut Pointer {
        let found = self.pointers.iter().position(|it| it.base == base);
        let at = found.unwrap_or_else(|| {
            let new = Pointer {
                base,
                value,
                checked: None,
                rises: false,
                addresses: [None; MAX_ADDRESSES],
            };
            keep(&mut self.pointers, new);
            self.pointers.len() - 1
        });
        &mut self.pointers[at]
    }

    /// The checked extent of the base, if it has `bytes` bytes or can be raised to that.
    pub(super) fn checked(&self, base: Base, bytes: u64, extents: &mut Extents) -> Option<Extent> {
        let pointer = self.pointer(base)?;
        let extent = pointer.checked?;
        if pointer.rises {
            extents.raise(extent, bytes);
        }
        (bytes <= extents.bytes(extent)).then_some(extent)
    }

    /// Records that an extent of the base, which has this value, was checked. The reach of earlier
    /// addresses does not change.
    pub(super) fn check(&mut self, base: Base, value: Value, extent: Extent) {
        let pointer = self.pointer_mut(base, value);
        pointer.checked = Some(extent);
        pointer.rises = true;
    }

    /// A computed address that reaches `bytes` bytes from the base on.
    pub(super) fn address(
        &self,
        base: Base,
        offset: u64,
        bytes: u64,
        extents: &Extents,
    ) -> Option<Var> {
        let mut addresses = self.pointer(base)?.addresses.iter().flatten();
        addresses.find_map(|it| it.reused(offset, bytes, extents))
    }

    /// Records an address that was computed because no other one reached far enough.
    pub(super) fn keep_address(&mut self, base: Base, value: Value, address: Address) {
        let addresses = &mut self.pointer_mut(base, value).addresses;
        let is_like = |it: &Option<Address>| it.is_none_or(|it| it.offset == address.offset);
        let at = addresses.iter().position(is_like).unwrap_or_else(|| {
            addresses.rotate_left(1);
            MAX_ADDRESSES - 1
        });
        addresses[at] = Some(address);
    }

    /// The constant value of a local.
    pub(super) fn constant(&self, local: Var) -> Option<i64> {
        let found = self.constants.iter().find(|it| it.0 == local);
        found.map(|(_, value)| *value)
    }

    /// The upper limit of a local.
    pub(super) fn bound(&self, local: Var) -> Option<u64> {
        let found = self.bounds.iter().find(|it| it.0 == local);
        found.map(|(_, max)| *max)
    }

    /// Records an effect, or the beginning of a block: earlier checks can no longer be raised.
    pub(super) fn effect(&mut self) {
        for pointer in &mut self.pointers {
            pointer.rises = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: Value = Value::Var(3);
    const BASE: Base = (
        Sum {
            root: VALUE,
            plus: 0,
        },
        Space::Linear,
    );

    #[test]
    fn what_is_raised_together_is_good_for_more_together() {
        let (mut known, mut extents) = (Known::default(), Extents::default());
        let extent = extents.add(10);
        known.check(BASE, VALUE, extent);
        known.keep_address(BASE, VALUE, Address::new(0, Reach::Extent(extent), 7));
        known.keep_address(BASE, VALUE, Address::new(32_768, Reach::Bytes(40_000), 8));
        assert_eq!(known.address(BASE, 0, 11, &extents), None);
        assert_eq!(known.checked(BASE, 50_000, &mut extents), Some(extent));
        assert_eq!(known.address(BASE, 0, 50_000, &extents), Some(7));
        // This address has no mask that could be raised.
        assert_eq!(known.address(BASE, 32_768, 40_001, &extents), None);
        assert_eq!(known.address(BASE, 32_768, 40_000, &extents), Some(8));
        // After an effect the check can no longer be raised.
        known.effect();
        assert_eq!(known.checked(BASE, 50_001, &mut extents), None);
        assert_eq!(known.address(BASE, 0, 50_001, &extents), None);
        let more = extents.add(60_000);
        known.check(BASE, VALUE, more);
        assert_eq!(known.checked(BASE, 60_001, &mut extents), Some(more));
        // Masks of earlier addresses do not change.
        assert_eq!(known.address(BASE, 0, 50_001, &extents), None);
        assert_eq!(known.address(BASE, 0, 50_000, &extents), Some(7));
    }

    #[test]
    fn a_base_is_forgotten_with_its_addresses() {
        let (mut known, mut extents) = (Known::default(), Extents::default());
        let extent = extents.add(10);
        for local in 0..=MAX_ENTRIES as Var {
            let value = Value::Var(local);
            let base = (Sum::of(value), Space::Linear);
            known.check(base, value, extent);
            known.keep_address(
                base,
                value,
                Address::new(0, Reach::Extent(extent), 100 + local),
            );
        }
        let mut is_known = |known: &Known, local| {
            let base = (Sum::of(Value::Var(local)), Space::Linear);
            let checked = known.checked(base, 1, &mut extents).is_some();
            assert_eq!(checked, known.address(base, 0, 1, &extents).is_some());
            checked
        };
        assert!(!is_known(&known, 0) && is_known(&known, 1));
        known.forget(1);
        assert!(!is_known(&known, 1) && is_known(&known, MAX_ENTRIES as Var));
        // A base in the packet is a different one.
        assert_eq!(
            known.address((Sum::of(Value::Var(2)), Space::Packet), 0, 1, &extents),
            None
        );
    }

    #[test]
    fn the_last_addresses_of_a_base_are_kept() {
        let (mut known, extents) = (Known::default(), Extents::default());
        for at in 0..=MAX_ADDRESSES as u64 {
            let address = Address::new(at << 15, Reach::Bytes(u64::MAX), at as Var);
            known.keep_address(BASE, VALUE, address);
        }
        let address = |at: u64| known.address(BASE, at << 15, 1, &extents);
        assert_eq!([0, 1, 4].map(address), [None, Some(1), Some(4)]);
    }

    #[test]
    fn a_sum_is_forgotten_with_each_of_its_parts() {
        let sum = |root, plus| Sum {
            root: Value::Var(root),
            plus,
        };
        let mut known = Known::default();
        let extent = Extents::default().add(10);
        for changed in [3, 4] {
            known.learn_sum(4, sum(3, 2));
            let base = (known.sum(4), Space::Linear);
            known.check(base, Value::Var(4), extent);
            let near = |known: &Known, plus| known.near((sum(3, plus), Space::Linear), 10);
            assert_eq!(near(&known, 5), Some((base, Value::Var(4), 3)));
            assert_eq!([1, 12].map(|plus| near(&known, plus)), [None; 2]);
            known.forget(changed);
            assert_eq!(known.sum(4), sum(4, 0));
            assert_eq!(near(&known, 5), None);
        }
        // It would refer to the old value.
        known.learn_sum(4, sum(4, 1));
        assert_eq!(known.sum(4), sum(4, 0));
    }
}
