// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.clock`: the time.

use nf_wasm_shared::abi::capability::CLOCK;
use wasmi::errors::LinkerError;
use wasmi::{Caller, Error, Linker, TrapCode};
use wasmparser::ValType::I64;

use super::{Function, Module, Native};
use crate::host::{Clock, Host};
use crate::guest::Guest;
use crate::state::{State, CALL_FUEL};

pub(super) const MODULE: Module = Module {
    capability: CLOCK,
    functions: &[
        Function {
            name: "monotonic",
            params: &[],
            results: &[I64],
        },
        Function {
            name: "realtime",
            params: &[],
            results: &[I64],
        },
    ],
};

pub(super) fn link<H: Host>(linker: &mut Linker<State<H>>) -> Result<(), LinkerError> {
    linker
        .func_wrap(CLOCK.name, "monotonic", |mut guest: Caller<'_, State<H>>| {
            Ok::<_, Error>(now(&mut guest, Clock::Monotonic)?)
        })?
        .func_wrap(CLOCK.name, "realtime", |mut guest: Caller<'_, State<H>>| {
            Ok::<_, Error>(now(&mut guest, Clock::Realtime)?)
        })?;
    Ok(())
}

pub(super) fn native<H: Host>(name: &str) -> Option<Native<H>> {
    Some(match name {
        "monotonic" => |guest, _| now(guest, Clock::Monotonic),
        "realtime" => |guest, _| now(guest, Clock::Realtime),
        _ => return None,
    })
}

fn now<H: Host>(guest: &mut impl Guest<H>, clock: Clock) -> Result<u64, TrapCode> {
    guest.charge(CALL_FUEL)?;
    Ok(guest.state().host.now(clock))
}
