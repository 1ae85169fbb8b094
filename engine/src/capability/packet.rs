// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.packet`: the packet beyond the window.

use nf_wasm_abi::capability::PACKET;
use wasmi::errors::LinkerError;
use wasmi::{Caller, Error, Linker};
use wasmparser::ValType::I32;

use super::{Function, Module};
use crate::host::Host;
use crate::state::{bytes_and_state, charge, State};

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
    charge(&mut caller, 0)?;
    Ok(caller.data().packet_len)
}

fn load<H: Host>(
    mut caller: Caller<'_, State<H>>,
    offset: u32,
    to: u32,
    len: u32,
) -> Result<i32, Error> {
    charge(&mut caller, len)?;
    let (bytes, state) = bytes_and_state(&mut caller, to, len)?;
    if u64::from(offset) + u64::from(len) > u64::from(state.packet_len) {
        return Ok(EFAULT);
    }
    Ok(state.host.load(offset, bytes).err().unwrap_or(0))
}
