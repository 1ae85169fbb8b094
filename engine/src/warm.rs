// SPDX-License-Identifier: GPL-2.0-only
//! Grows the interpreter's call stack to its maximum at load, so that no packet makes it grow.

use alloc::format;
use wasmi::{Engine, Error, Instance, Module, Store};

use crate::refusal::{Refusal, RefusalKind};

/// `(module (func (export "f") call 0))`
const RECURSE: &[u8] = &[
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version 1
    0x01, 0x04, 0x01, 0x60, 0x00, 0x00, // types: () -> ()
    0x03, 0x02, 0x01, 0x00, // functions: of type 0
    0x07, 0x05, 0x01, 0x01, b'f', 0x00, 0x00, // exports: "f", function 0
    0x0a, 0x06, 0x01, 0x04, 0x00, 0x10, 0x00, 0x0b, // code: call 0
];

/// Recurses to the maximum depth once. The value stack has its full height from the start. The
/// vector of call frames gets its full length here. The engine keeps both for the next call.
pub(crate) fn warm(engine: &Engine) -> Result<(), Refusal> {
    recurse(engine).map_err(|error| {
        Refusal::new(
            RefusalKind::OutOfMemory,
            format!("the engine's stack could not be set up: {error}"),
        )
    })
}

#[inline(never)]
fn recurse(engine: &Engine) -> Result<(), Error> {
    let module = Module::new(engine, RECURSE)?;
    let mut store = Store::new(engine, ());
    store.set_fuel(u64::from(u32::MAX))?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let f = instance.get_typed_func::<(), ()>(&store, "f")?;
    match f.call(&mut store, ()) {
        // The endless recursion can only end like this.
        Err(error) if error.as_trap_code() == Some(wasmi::TrapCode::StackOverflow) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => Ok(()),
    }
}
