// SPDX-License-Identifier: GPL-2.0-only
//! Function bodies: their limits and their validation, in one pass.

use core::mem;

use nf_wasm_shared::abi::limits;
use wasmparser::{BinaryReader, FuncToValidate, FuncValidator, FunctionBody, ValidatorResources};

use super::{malformed_in, Inspector, Rules};
use crate::refusal::{refuse, Refusal};

/// The opcode of `br_table`.
const BR_TABLE: u8 = 0x0e;

impl Inspector<'_> {
    #[inline(never)]
    pub(super) fn check_body(
        &mut self,
        func: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), Refusal> {
        let mut validator = func.into_validator(mem::take(&mut self.allocations));
        check_locals(&validator, body)?;
        check_operators(&mut validator, body)?;
        if self.rules == Rules::Filter {
            self.note_wrapper(validator.index(), body);
        }
        self.allocations = validator.into_allocations();
        Ok(())
    }
}

#[inline(never)]
fn check_locals(
    validator: &FuncValidator<ValidatorResources>,
    body: &FunctionBody<'_>,
) -> Result<(), Refusal> {
    let index = validator.index();
    let malformed = |error| malformed_in(index, error);
    let mut locals = u64::from(validator.len_locals());
    for item in body.get_locals_reader().map_err(malformed)? {
        let (count, _) = item.map_err(malformed)?;
        locals += u64::from(count);
        if locals > u64::from(limits::LOCALS) {
            refuse!(
                Limit,
                "function {index} at offset {:#x} has {locals} or more parameters and locals; \
                 {} are allowed",
                body.range().start,
                limits::LOCALS
            );
        }
    }
    Ok(())
}

#[inline(never)]
fn check_operators(
    validator: &mut FuncValidator<ValidatorResources>,
    body: &FunctionBody<'_>,
) -> Result<(), Refusal> {
    let index = validator.index();
    let malformed = |error| malformed_in(index, error);
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader).map_err(malformed)?;
    let (bytes, start) = (body.as_bytes(), body.range().start);
    while !reader.eof() {
        let offset = reader.original_position();
        if bytes.get(offset - start) == Some(&BR_TABLE) {
            check_br_table(&reader, index)?;
        }
        reader
            .visit_operator(&mut validator.visitor(offset))
            .and_then(|result| result)
            .map_err(malformed)?;
        // The function's own frame is the first.
        if validator.control_stack_height() > limits::NESTING + 1 {
            refuse!(
                Limit,
                "function {index} nests more than {} blocks at offset {offset:#x}",
                limits::NESTING
            );
        }
    }
    let offset = reader.original_position();
    reader
        .finish_expression(&validator.visitor(offset))
        .map_err(malformed)
}

/// Refuses the `br_table` at `reader`'s position if it has too many targets.
#[inline(never)]
fn check_br_table(reader: &BinaryReader<'_>, index: u32) -> Result<(), Refusal> {
    let mut reader = reader.clone();
    let offset = reader.original_position();
    match reader.read_u8().and_then(|_| reader.read_var_u32()) {
        Ok(targets) if targets > limits::BR_TABLE_TARGETS => refuse!(
            Limit,
            "a br_table of function {index} at offset {offset:#x} has {targets} targets; {} are \
             allowed",
            limits::BR_TABLE_TARGETS
        ),
        // The validator refuses a malformed number.
        _ => Ok(()),
    }
}
