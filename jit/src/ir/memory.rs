// SPDX-License-Identifier: GPL-2.0-only
//! Memory accesses: size, place, checked extent, and the mask against speculation.

use alloc::vec::Vec;

use super::{Var, Width};

/// The size of a memory access, and the extension of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Bytes: 1, 2, 4 or 8.
    pub(crate) bytes: u8,
    /// The width to which a load is sign-extended.
    pub(crate) signed: Option<Width>,
}

impl Access {
    /// The largest result of a load, if it is not sign-extended.
    pub(crate) fn max(&self) -> Option<u64> {
        match (self.signed, self.bytes) {
            (None, bytes @ (1 | 2 | 4)) => Some((1 << (8 * bytes)) - 1),
            (None, _) | (Some(_), _) => None,
        }
    }
}

/// The place of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The result of an [`super::Op::Address`]. `None` is the beginning of the linear memory.
    pub(crate) address: Option<Var>,
    /// Added to the address. May be negative, by as much as the address was lowered: see
    /// [`super::Function::lowered`].
    pub(crate) offset: i16,
}

/// A number of bytes from a base on: an index in [`Extents`]. If operations share an extent, they
/// are raised together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent(u32);

/// The extents of a function. They may change until it is built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extents(Vec<u64>);

impl Extents {
    pub(crate) fn add(&mut self, bytes: u64) -> Extent {
        self.0.push(bytes);
        Extent(self.0.len() as u32 - 1)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn bytes(&self, extent: Extent) -> u64 {
        self.0[extent.0 as usize]
    }

    /// Raises the extent, and so all operations that share it, to at least `bytes`.
    pub(crate) fn raise(&mut self, extent: Extent, bytes: u64) {
        let old = &mut self.0[extent.0 as usize];
        *old = bytes.max(*old);
    }
}

/// How an address stays in linear memory while the check before it is mispredicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// The base is a constant. Nothing is checked at run time.
    Constant,
    /// The operation that computed the base bounds it to this, also under speculation. There is no
    /// check.
    Bound(u64),
    /// The sum of base and offset modulo the memory's bytes, which are a power of two. A guard
    /// follows the memory: see [`super::Function::guard`].
    Memory,
    /// A base that is too large for this extent becomes 0, without a branch.
    Extent(Extent),
}
