// SPDX-License-Identifier: GPL-2.0-only
//! Memory accesses: size, place, checked extent, and the mask against speculation.

use alloc::vec::Vec;

use super::{Var, Width};

/// What an access to memory moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Bytes: 1, 2, 4 or 8.
    pub(crate) bytes: u8,
    /// A load's sign is extended to this.
    pub(crate) signed: Option<Width>,
}

impl Access {
    /// The largest value that a load leaves, if it is not sign-extended.
    pub(crate) fn max(&self) -> Option<u64> {
        match (self.signed, self.bytes) {
            (None, bytes @ (1 | 2 | 4)) => Some((1 << (8 * bytes)) - 1),
            (None, _) | (Some(_), _) => None,
        }
    }
}

/// Where an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// A variable of [`super::Op::Address`], or the linear memory's beginning.
    pub(crate) address: Option<Var>,
    /// Behind that; less than 32,768.
    pub(crate) offset: u16,
}

/// Bytes from a base on, by their place in [`Extents`]. Operations that have it in common are raised
/// together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent(u32);

/// The extents of a function. They are not final before it is built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extents(Vec<u64>);

impl Extents {
    pub(crate) fn add(&mut self, bytes: u64) -> Extent {
        self.0.push(bytes);
        Extent(self.0.len() as u32 - 1)
    }

    pub(crate) fn bytes(&self, extent: Extent) -> u64 {
        self.0[extent.0 as usize]
    }

    /// Has all operations with this extent be for `bytes` at least.
    pub(crate) fn raise(&mut self, extent: Extent, bytes: u64) {
        let old = &mut self.0[extent.0 as usize];
        *old = bytes.max(*old);
    }
}

/// What keeps an address in linear memory where the check before it is mispredicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// The base is a constant. Nothing is checked at run time.
    Constant,
    /// The base is at most this by how it was computed, whichever way led there. There is no check.
    Bound(u64),
    /// The base becomes 0 where less than this is behind it, without a branch.
    Extent(Extent),
}
