// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.clock`: the time.

use nf_wasm_abi::capability::CLOCK;
use wasmi::errors::LinkerError;
use wasmi::{Caller, Error, Linker};
use wasmparser::ValType::I64;

use super::{Function, Module};
use crate::host::{Clock, Host};
use crate::state::{charge, State, CALL_FUEL};

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
        .func_wrap(CLOCK.name, "monotonic", |caller: Caller<'_, State<H>>| {
            now(caller, Clock::Monotonic)
        })?
        .func_wrap(CLOCK.name, "realtime", |caller: Caller<'_, State<H>>| {
            now(caller, Clock::Realtime)
        })?;
    Ok(())
}

fn now<H: Host>(mut caller: Caller<'_, State<H>>, clock: Clock) -> Result<u64, Error> {
    charge(&mut caller, CALL_FUEL)?;
    Ok(caller.data_mut().host.now(clock))
}
