// SPDX-License-Identifier: GPL-2.0-only
//! `nfw.log`: lines in the kernel log.

use nf_wasm_shared::abi::capability::LOG;
use nf_wasm_shared::abi::limits::LOG_LINE_BYTES;
use wasmi::errors::LinkerError;
use wasmi::{Caller, Error, Linker, TrapCode};
use wasmparser::ValType::I32;

use super::{Function, Module, Native};
use crate::host::Host;
use crate::guest::Guest;
use crate::state::{State, CALL_FUEL};

/// Bytes that are looked at, one by one, for one unit of fuel.
const BYTES_PER_FUEL: u32 = 4;

pub(super) const MODULE: Module = Module {
    capability: LOG,
    functions: &[Function {
        name: "write",
        params: &[I32, I32],
        results: &[I32],
    }],
};

pub(super) fn link<H: Host>(linker: &mut Linker<State<H>>) -> Result<(), LinkerError> {
    linker.func_wrap(
        LOG.name,
        "write",
        |mut guest: Caller<'_, State<H>>, text: u32, len: u32| {
            Ok::<_, Error>(write(&mut guest, text, len)?)
        },
    )?;
    Ok(())
}

pub(super) fn native<H: Host>(name: &str) -> Option<Native<H>> {
    Some(match name {
        "write" => |guest, [text, len, _]| write(guest, text as u32, len as u32).map(u64::from),
        _ => return None,
    })
}

fn write<H: Host>(guest: &mut impl Guest<H>, text: u32, len: u32) -> Result<u32, TrapCode> {
    let taken = len.min(LOG_LINE_BYTES);
    // Twice what others charge for themselves: whether the line may be printed is asked of a limit
    // that all CPUs share.
    guest.charge(2 * CALL_FUEL + u64::from(taken / BYTES_PER_FUEL))?;
    let (bytes, state) = guest.bytes_and_state(text, len)?;
    // A guest must not be able to forge lines or to send control codes to a terminal.
    let mut line = [0; LOG_LINE_BYTES as usize];
    let line = &mut line[..taken as usize];
    for (to, from) in line.iter_mut().zip(&*bytes) {
        *to = match from {
            b' '..=b'~' => *from,
            _ => b'?',
        };
    }
    state.host.log(line);
    Ok(taken)
}
