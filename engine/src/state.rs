// SPDX-License-Identifier: GPL-2.0-only
//! What host functions find in the store.

use nf_wasm_abi::limits;
use wasmi::{nospec, Caller, Error, Memory, StoreLimits, StoreLimitsBuilder, TrapCode};

/// Fuel that a host function charges for itself.
pub(crate) const CALL_FUEL: u64 = 10;
/// Bytes that a host function moves for one unit of fuel.
const BYTES_PER_FUEL: u32 = 64;
/// Bytes of a page of linear memory.
const PAGE_BYTES: usize = 65_536;

pub(crate) struct State<H> {
    pub(crate) host: H,
    /// The guest's linear memory, if it has one.
    pub(crate) memory: Option<Memory>,
    /// Bytes of the packet at hand.
    pub(crate) packet_len: u32,
    pub(crate) growth: StoreLimits,
}

impl<H> State<H> {
    pub(crate) fn new(host: H, memory_pages: u32) -> Self {
        Self {
            host,
            memory: None,
            packet_len: 0,
            growth: growth_limits(memory_pages),
        }
    }

    /// From now on `memory.grow` and `table.grow` answer -1.
    pub(crate) fn forbid_growth(&mut self) {
        self.growth = no_growth();
    }
}

/// Fuel for moving `bytes` from here to there, on top of [`CALL_FUEL`].
pub(crate) fn fuel_to_move(bytes: u32) -> u64 {
    u64::from(bytes / BYTES_PER_FUEL)
}

/// Charges a host function's fuel, before it does what it charges for.
pub(crate) fn charge<H>(caller: &mut Caller<'_, State<H>>, fuel: u64) -> Result<(), Error> {
    match caller.get_fuel()?.checked_sub(fuel) {
        Some(rest) => caller.set_fuel(rest),
        None => Err(TrapCode::OutOfFuel.into()),
    }
}

/// The guest's bytes `ptr..ptr + len` and the state, or the trap that a load there would be.
pub(crate) fn bytes_and_state<'a, H>(
    caller: &'a mut Caller<'_, State<H>>,
    ptr: u32,
    len: u32,
) -> Result<(&'a mut [u8], &'a mut State<H>), TrapCode> {
    let memory = caller.data().memory.ok_or(TrapCode::MemoryOutOfBounds)?;
    let (data, state) = memory.data_and_store_mut(caller);
    // Under speculation as well: `patches/` has it.
    let bytes =
        nospec::get_mut(data, ptr as usize, len as usize).ok_or(TrapCode::MemoryOutOfBounds)?;
    Ok((bytes, state))
}

/// What linear memory and the table may grow to while a filter is set up.
fn growth_limits(memory_pages: u32) -> StoreLimits {
    StoreLimitsBuilder::new()
        .instances(1)
        .memories(limits::MEMORIES as usize)
        .tables(limits::TABLES as usize)
        .memory_size(memory_pages as usize * PAGE_BYTES)
        .table_elements(limits::TABLE_ELEMENTS as usize)
        .build()
}

/// Nothing grows while packets are decided: growing allocates.
fn no_growth() -> StoreLimits {
    StoreLimitsBuilder::new()
        .memory_size(0)
        .table_elements(0)
        .build()
}
