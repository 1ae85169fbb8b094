// SPDX-License-Identifier: GPL-2.0-only
//! State of an interpreted instance that host functions use.

use nf_wasm_jit::machine::HostState;
use nf_wasm_shared::abi::limits;
use wasmi::{nospec, Memory, StoreLimits, StoreLimitsBuilder, TrapCode};

/// Bytes that `memory.copy` and `memory.fill` move for one unit of fuel.
const BYTES_PER_FUEL: u32 = 64;
/// Bytes of a page of linear memory.
const PAGE_BYTES: usize = 65_536;

pub(crate) struct State<H> {
    pub(crate) host_state: HostState<H>,
    /// The guest's linear memory, if it has one.
    pub(crate) memory: Option<Memory>,
    pub(crate) growth: StoreLimits,
}

impl<H> State<H> {
    pub(crate) fn new(host: H, memory_pages: u32) -> Self {
        Self {
            host_state: HostState {
                host,
                packet_len: 0,
            },
            memory: None,
            growth: growth_limits(memory_pages),
        }
    }

    /// Makes `memory.grow` and `table.grow` return -1 from now on.
    pub(crate) fn forbid_growth(&mut self) {
        self.growth = no_growth();
    }
}

/// Fuel for moving `bytes` within linear memory.
pub(crate) fn fuel_to_move(bytes: u32) -> u64 {
    u64::from(bytes / BYTES_PER_FUEL)
}

/// The bytes `ptr..ptr + len` of a linear memory.
pub(crate) fn bytes(memory: &mut [u8], ptr: u32, len: u32) -> Result<&mut [u8], TrapCode> {
    // The bounds also hold under speculation. `nospec` is part of the patches to wasmi.
    nospec::get_mut(memory, ptr as usize, len as usize).ok_or(TrapCode::MemoryOutOfBounds)
}

/// The limits for the growth of memory and table while a filter is set up.
fn growth_limits(memory_pages: u32) -> StoreLimits {
    StoreLimitsBuilder::new()
        .instances(1)
        .memories(limits::MEMORIES as usize)
        .tables(limits::TABLES as usize)
        .memory_size(memory_pages as usize * PAGE_BYTES)
        .table_elements(limits::TABLE_ELEMENTS as usize)
        .build()
}

/// The limits while packets are decided. Nothing may grow, because that would allocate.
fn no_growth() -> StoreLimits {
    StoreLimitsBuilder::new()
        .memory_size(0)
        .table_elements(0)
        .build()
}
