// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.packet`: the packet beyond the window.

use nf_wasm_abi::capability::PACKET;
use wasmi::errors::LinkerError;
use wasmi::{Caller, Error, Linker};
use wasmparser::ValType::I32;

use super::{Function, Module};
use crate::host::Host;
use crate::state::{bytes_and_state, charge, fuel_to_move, State, CALL_FUEL};

/// The negative errno of a range that the packet does not have.
const EFAULT: i32 = -14;

pub(super) const MODULE: Module = Module {
    capability: PACKET,
    functions: &[
        Function {
            name: "len",
            params: &[],
            results: &[I32],
        },
        Function {
            name: "load",
            params: &[I32, I32, I32],
            results: &[I32],
        },
    ],
};

pub(super) fn link<H: Host>(linker: &mut Linker<State<H>>) -> Result<(), LinkerError> {
    linker
        .func_wrap(PACKET.name, "len", len::<H>)?
        .func_wrap(PACKET.name, "load", load::<H>)?;
    Ok(())
}

fn len<H: Host>(mut caller: Caller<'_, State<H>>) -> Result<u32, Error> {
    charge(&mut caller, CALL_FUEL)?;
    Ok(caller.data().packet_len)
}

fn load<H: Host>(
    mut caller: Caller<'_, State<H>>,
    offset: u32,
    to: u32,
    len: u32,
) -> Result<i32, Error> {
    charge(&mut caller, CALL_FUEL + fuel_to_move(len))?;
    let (bytes, state) = bytes_and_state(&mut caller, to, len)?;
    if u64::from(offset) + u64::from(len) > u64::from(state.packet_len) {
        return Ok(EFAULT);
    }
    match state.host.load(offset, bytes) {
        // Known only now: a packet of thousands of fragments is walked through from its beginning.
        Ok(pieces) => charge(&mut caller, u64::from(pieces)).map(|()| 0),
        Err(errno) => Ok(errno),
    }
}
