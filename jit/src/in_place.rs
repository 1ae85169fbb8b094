// SPDX-License-Identifier: GPL-2.0-only
//! Filters that only read, on packets where they are.
//!
//! A filter that writes nothing and asks nobody may be run, given up, and run once more: nobody can
//! tell. So it is compiled twice. What [`crate::compile`] makes looks at a copy of the packet, in the
//! window in linear memory. What is made here looks at the packet itself: loads from the window become
//! loads from the packet, and the window is not there. Constant addresses are in the window or are not.
//! Others are guessed to be by how they were computed, and checked: one that is taken for the window's
//! has to be within what there is of the packet in one piece, another below the buffer. Where that does
//! not hold, the code gives up, by a trap that it can have no other way.
//!
//! Fuel is charged as ever: both have the same operators.

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
