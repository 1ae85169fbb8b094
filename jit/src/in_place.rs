// SPDX-License-Identifier: GPL-2.0-only
//! Compiles filters that only read, for packets in place.
//!
//! A filter without effects can run, bail out, and run again without a visible difference. So it is
//! compiled twice. [`crate::compile`] makes code for a packet on a copy, in the window in linear
//! memory. This file makes code in which loads from the window are loads from the packet itself.
//!
//! For a constant address the compiler knows whether it is in the window. For other addresses
//! `pointers.rs` guesses, and the code checks the guess: an address that is guessed to be in the
//! window must be within the packet's linear bytes, any other below the buffer. If a check fails,
//! the code bails out, with the trap `memory-out-of-bounds`.
//!
//! Both versions charge the same fuel, because they have the same operators.

use wasmparser::FunctionBody;

use crate::module::Module;
use crate::pointers::InPlace;
use crate::reader::{Operator, Operators};
use crate::{back, front, Buffer, Code, Environment, Unsupported, Work};

/// Maximum number of a function's Wasm operators, plus targets of `br_table`. For a larger function
/// the cost of the copy does not matter.
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
    // The back end builds the function once more, with the same blocks.
    let Some(in_place) = InPlace::new(&function, buffer, work)? else {
        return Ok(None);
    };
    back::compile(module, export, environment, Some(&in_place), work).map(Some)
}

/// Whether a function has more than [`MAX_OPERATORS`].
fn is_large(body: &FunctionBody<'_>, work: &Work<'_>) -> Result<bool, Unsupported> {
    let mut operators = 0;
    for operator in Operators::of(body)? {
        operators += match operator? {
            Operator::BranchTable(targets) => 1 + targets.len(),
            _ => 1,
        };
        work.take(1)?;
        if operators > MAX_OPERATORS {
            return Ok(true);
        }
    }
    Ok(false)
}
