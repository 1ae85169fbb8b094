// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.mark`: the packet's mark.

use nf_wasm_abi::capability::MARK;
use wasmi::errors::LinkerError;
use wasmi::{Caller, Error, Linker};
use wasmparser::ValType::I32;

use super::{Function, Module};
use crate::host::Host;
use crate::state::{charge, State, CALL_FUEL};

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
        .func_wrap(MARK.name, "get", get::<H>)?
        .func_wrap(MARK.name, "set", set::<H>)?;
    Ok(())
}

fn get<H: Host>(mut caller: Caller<'_, State<H>>) -> Result<u32, Error> {
    charge(&mut caller, CALL_FUEL)?;
    Ok(caller.data_mut().host.mark())
}

fn set<H: Host>(mut caller: Caller<'_, State<H>>, mark: u32) -> Result<i32, Error> {
    charge(&mut caller, CALL_FUEL)?;
    caller.data_mut().host.set_mark(mark);
    Ok(0)
}
