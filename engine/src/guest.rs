// SPDX-License-Identifier: GPL-2.0-only
//! A guest that calls a host function, in either tier.

use nf_wasm_jit::machine::HostState;
use wasmi::{Caller, TrapCode};

use crate::state::{bytes, State};

/// The operations of a host function on the guest that called it.
pub(crate) trait Guest<H> {
    /// Charges fuel. A host function calls this before it does the work.
    fn charge(&mut self, fuel: u64) -> Result<(), TrapCode>;

    /// What host functions work on.
    fn state(&mut self) -> &mut HostState<H>;

    /// The guest's bytes `ptr..ptr + len`, and what host functions work on. Traps as a load from
    /// that range would.
    fn bytes_and_state(
        &mut self,
        ptr: u32,
        len: u32,
    ) -> Result<(&mut [u8], &mut HostState<H>), TrapCode>;
}

impl<H> Guest<H> for Caller<'_, State<H>> {
    fn charge(&mut self, fuel: u64) -> Result<(), TrapCode> {
        let left = self.get_fuel().unwrap_or(0).checked_sub(fuel);
        let left = left.ok_or(TrapCode::OutOfFuel)?;
        self.set_fuel(left).map_err(|_| TrapCode::OutOfFuel)
    }

    fn state(&mut self) -> &mut HostState<H> {
        &mut self.data_mut().host_state
    }

    fn bytes_and_state(
        &mut self,
        ptr: u32,
        len: u32,
    ) -> Result<(&mut [u8], &mut HostState<H>), TrapCode> {
        let Some(memory) = self.data().memory else {
            // A guest without a linear memory is treated as one with an empty memory.
            return Ok((bytes(&mut [], ptr, len)?, self.state()));
        };
        let (data, state) = memory.data_and_store_mut(self);
        Ok((bytes(data, ptr, len)?, &mut state.host_state))
    }
}

/// A guest that runs as native code.
pub(crate) struct NativeGuest<'a, H> {
    pub(crate) fuel: &'a mut i64,
    pub(crate) memory: &'a mut [u8],
    pub(crate) state: &'a mut HostState<H>,
}

impl<H> Guest<H> for NativeGuest<'_, H> {
    fn charge(&mut self, fuel: u64) -> Result<(), TrapCode> {
        charge(self.fuel, fuel)
    }

    fn state(&mut self) -> &mut HostState<H> {
        self.state
    }

    fn bytes_and_state(
        &mut self,
        ptr: u32,
        len: u32,
    ) -> Result<(&mut [u8], &mut HostState<H>), TrapCode> {
        Ok((bytes(self.memory, ptr, len)?, self.state))
    }
}

/// Subtracts fuel, or traps if less than that is left.
pub(crate) fn charge(left: &mut i64, fuel: u64) -> Result<(), TrapCode> {
    // Fuel is much less than 2^63.
    match left.checked_sub(fuel as i64) {
        Some(after @ 0..) => {
            *left = after;
            Ok(())
        }
        _ => Err(TrapCode::OutOfFuel),
    }
}
