// SPDX-License-Identifier: GPL-2.0-only
//! Compiles filters that only read, for packets in place.
//!
//! A filter that has no effects can run, bail out, and run again unnoticed. So it is compiled twice.
//! [`crate::compile`] makes code for a copy of the packet, in the window in linear memory. This file makes
//! code in which loads from the window are loads from the packet itself.
//!
//! A constant address is in the window or not. For other addresses `pointers.rs` guesses, and the code
//! checks the guess: an address taken for the window's must be within the packet's linear bytes, any other
//! below the buffer. If a check fails, the code bails out, by a trap that it cannot have otherwise.
//!
//! Both codes charge the same fuel, as they have the same operators.

use wasmparser::{FunctionBody, Operator};

use crate::module::Module;
use crate::pointers::InPlace;
use crate::{back, front, Buffer, Code, Environment, Unsupported, Work};

/// Wasm's operators of the largest function, each target of a `br_table` counted. In a larger one the
/// copy does not matter.
const MAX_OPERATORS: usize = 1 << 12;
/// Compiles the exported function for packets in place, if that is possible.
pub(crate) fn compile(
    module: &Module<'_>,
    export: &str,
    environment: &Environment<'_>,
    buffer: Buffer,
    work: &Work<'_>,
) -> Result<Option<Code>, Unsupported> {
    let Some(root) = module.exported(export) else {
        return Ok(None);
    };
    let Some(body) = module.body(root) else {
        return Ok(None);
    };
    if is_large(body, work)? {
        return Ok(None);
    }
    let parameters = environment.parameters;
    let function = front::build(module, root, environment, parameters, None, work)?;
    if function.has_effects() {
        return Ok(None);
    }
    // The back end builds the function anew, with the same blocks.
    let Some(in_place) = InPlace::new(&function, buffer, work)? else {
        return Ok(None);
    };
    back::compile(module, export, environment, Some(&in_place), work).map(Some)
}

/// Whether a function has more than [`MAX_OPERATORS`].
fn is_large(body: &FunctionBody<'_>, work: &Work<'_>) -> Result<bool, Unsupported> {
    let mut operators = 0;
    for operator in body.get_operators_reader()? {
        operators += match operator? {
            Operator::BrTable { targets } => 1 + targets.len() as usize,
            _ => 1,
        };
        work.take(1)?;
        if operators > MAX_OPERATORS {
            return Ok(true);
        }
    }
    Ok(false)
}
