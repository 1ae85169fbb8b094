// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.mark`: the packet's mark.

use nf_wasm_shared::abi::capability::MARK;
use wasmi::errors::LinkerError;
use wasmi::{Caller, Error, Linker, TrapCode};
use wasmparser::ValType::I32;

use super::{Function, Module, Native};
use crate::host::Host;
use crate::guest::Guest;
use crate::state::{State, CALL_FUEL};

pub(super) const MODULE: Module = Module {
    capability: MARK,
    functions: &[
        Function {
            name: "get",
            params: &[],
            results: &[I32],
        },
        Function {
            name: "set",
            params: &[I32],
            results: &[I32],
        },
    ],
};

pub(super) fn link<H: Host>(linker: &mut Linker<State<H>>) -> Result<(), LinkerError> {
    linker
        .func_wrap(MARK.name, "get", |mut guest: Caller<'_, State<H>>| {
            Ok::<_, Error>(get(&mut guest)?)
        })?
        .func_wrap(
            MARK.name,
            "set",
            |mut guest: Caller<'_, State<H>>, mark: u32| Ok::<_, Error>(set(&mut guest, mark)?),
        )?;
    Ok(())
}

pub(super) fn native<H: Host>(name: &str) -> Option<Native<H>> {
    Some(match name {
        "get" => |guest, _| get(guest).map(u64::from),
        "set" => |guest, [mark, ..]| set(guest, mark as u32).map(u64::from),
        _ => return None,
    })
}

fn get<H: Host>(guest: &mut impl Guest<H>) -> Result<u32, TrapCode> {
    guest.charge(CALL_FUEL)?;
    Ok(guest.state().host.mark())
}

fn set<H: Host>(guest: &mut impl Guest<H>, mark: u32) -> Result<u32, TrapCode> {
    guest.charge(CALL_FUEL)?;
    guest.state().host.set_mark(mark);
    Ok(0)
}
