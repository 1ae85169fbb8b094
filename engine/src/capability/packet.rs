// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.packet`: the packet beyond the window.

use nf_wasm_shared::abi::capability::PACKET;
use wasmi::errors::LinkerError;
use wasmi::{Caller, Error, Linker, TrapCode};
use wasmparser::ValType::I32;

use super::{Function, Module, Native};
use crate::host::Host;
use crate::guest::Guest;
use crate::state::{fuel_to_move, State, CALL_FUEL};

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
        .func_wrap(PACKET.name, "len", |mut guest: Caller<'_, State<H>>| {
            Ok::<_, Error>(len(&mut guest)?)
        })?
        .func_wrap(
            PACKET.name,
            "load",
            |mut guest: Caller<'_, State<H>>, offset: u32, to: u32, len: u32| {
                Ok::<_, Error>(load(&mut guest, offset, to, len)?)
            },
        )?;
    Ok(())
}

pub(super) fn native<H: Host>(name: &str) -> Option<Native<H>> {
    Some(match name {
        "len" => |guest, _| len(guest).map(u64::from),
        "load" => |guest, [offset, to, len]| {
            load(guest, offset as u32, to as u32, len as u32).map(|it| (it as u32).into())
        },
        _ => return None,
    })
}

fn len<H: Host>(guest: &mut impl Guest<H>) -> Result<u32, TrapCode> {
    guest.charge(CALL_FUEL)?;
    Ok(guest.state().packet_len)
}

fn load<H: Host>(
    guest: &mut impl Guest<H>,
    offset: u32,
    to: u32,
    len: u32,
) -> Result<i32, TrapCode> {
    guest.charge(CALL_FUEL + fuel_to_move(len))?;
    let (bytes, state) = guest.bytes_and_state(to, len)?;
    if u64::from(offset) + u64::from(len) > u64::from(state.packet_len) {
        return Ok(EFAULT);
    }
    match state.host.load(offset, bytes) {
        // Known only now: a packet of thousands of fragments is walked through from its beginning.
        Ok(pieces) => guest.charge(u64::from(pieces)).map(|()| 0),
        Err(errno) => Ok(errno),
    }
}
