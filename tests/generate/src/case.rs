// SPDX-License-Identifier: GPL-2.0-only
//! A test case: a filter, its settings, and packets.

use arbitrary::{Result, Unstructured};
use nf_wasm_shared::abi::capability::ALL_BITS;
use nf_wasm_shared::abi::ioctl::{FAMILY_IPV4, FAMILY_IPV6, FAMILY_NETDEV};
use nf_wasm_shared::abi::limits::{DEFAULT_FUEL, DEFAULT_SNAPLEN, MAX_SNAPLEN};

use crate::{packet, program, smith};

/// A filter, an operator's settings, and packets.
#[derive(Clone, Debug)]
pub struct Case {
    /// The Wasm module.
    pub wasm: Vec<u8>,
    /// Granted capabilities, mostly all.
    pub capabilities: u64,
    /// Fuel per packet.
    pub fuel: u64,
    /// The snaplen in bytes.
    pub snaplen: u32,
    /// The packets' family, a `FAMILY_*` number.
    pub family: u32,
    /// The hook in the filter's context.
    pub hook: u32,
    /// The packets' mark.
    pub mark: u32,
    /// The packets, in order.
    pub packets: Vec<Vec<u8>>,
}

/// The kind of filters to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filters {
    /// Any filter. A few use proposals that the engine does not support.
    Any,
    /// Filters from [`crate::program`], which resemble real ones.
    Programs,
}

impl Case {
    /// Makes a case of random bytes. `clock` says whether filters may read the clock.
    ///
    /// # Errors
    ///
    /// The bytes do not suffice.
    pub fn new(u: &mut Unstructured<'_>, filters: Filters, clock: bool) -> Result<Self> {
        let capabilities = match u.int_in_range(0..=31_u8)? {
            0 => u.arbitrary::<u64>()? & ALL_BITS,
            _ => ALL_BITS,
        };
        let fuel = match u.int_in_range(0..=7_u8)? {
            0 => u.int_in_range(1..=40)?,
            1 => u.int_in_range(1..=1000)?,
            2 => 20_000,
            _ => DEFAULT_FUEL,
        };
        let snaplen = match u.int_in_range(0..=7_u8)? {
            0 => u.int_in_range(1..=64)?,
            1 => MAX_SNAPLEN,
            2 => u.int_in_range(1..=MAX_SNAPLEN)?,
            _ => DEFAULT_SNAPLEN,
        };
        let family = *u.choose(&[FAMILY_IPV4, FAMILY_IPV6, FAMILY_NETDEV])?;
        let hook = u.int_in_range(0..=4)?;
        let mark = u.arbitrary()?;
        let packets = (0..u.int_in_range(1..=3)?)
            .map(|_| packet::packet(u))
            .collect::<Result<_>>()?;
        let wasm = match (filters, u.int_in_range(0..=15_u8)?) {
            (Filters::Any, 0..=1) => smith::outside(u)?,
            (Filters::Any, 2..=7) => smith::inside(u)?,
            _ => program::program(u, clock)?,
        };
        Ok(Self {
            wasm,
            capabilities,
            fuel,
            snaplen,
            family,
            hook,
            mark,
            packets,
        })
    }
}
