// SPDX-License-Identifier: GPL-2.0-only
//! Detects WASI commands. A command runs once, so it cannot be a filter.
//!
//! A command exports `_start`. wasm-ld also makes a command of a module that has constructors but
//! no `_initialize`: each export becomes a wrapper, `NAME.command_export`, which runs constructors
//! before the function and destructors after it. Each packet would reset the filter's variables.

use nf_wasm_shared::abi::guest::{EXPORT_BUF, EXPORT_FILTER, EXPORT_INIT, EXPORT_START};
use wasmparser::types::{Types, TypesRef};
use wasmparser::{BinaryReaderError, FunctionBody, Operator};

use super::{ExternKind, Inspector};
use crate::refusal::{refuse, Refusal};

/// An export that calls a function, then a second with the export's parameters, and perhaps a
/// third.
pub(super) struct Wrapper<'a> {
    /// The export's name.
    name: &'a str,
    /// The function that it calls first.
    first: u32,
    /// The function that it passes its parameters to.
    wrapped: u32,
    /// Number of the parameters.
    params: u32,
    /// The function that it calls last.
    last: Option<u32>,
}

impl Inspector<'_> {
    /// Refuses a module that exports `_start`.
    pub(super) fn refuse_program(&self) -> Result<(), Refusal> {
        match self.export(EXPORT_START) {
            Some(start) => refuse!(
                Unsupported,
                "the export {EXPORT_START} at offset {:#x} makes this a program that runs once, \
                 which a filter is not; build a library (clang: -mexec-model=reactor, or \
                 -Wl,--no-entry without WASI)",
                start.offset
            ),
            None => Ok(()),
        }
    }

    /// Records function `index` if it is a wrapper and the host calls it.
    #[inline(never)]
    pub(super) fn note_wrapper(&mut self, index: u32, body: &FunctionBody<'_>) {
        for export in &self.inspection.exports {
            let is_called = matches!(export.name, EXPORT_FILTER | EXPORT_BUF | EXPORT_INIT);
            if export.index != index || export.kind != ExternKind::Function || !is_called {
                continue;
            }
            // The body is valid, so parsing does not fail.
            if let Ok(Some(wrapper)) = wrapper(export.name, body) {
                self.wrappers.push(wrapper);
            }
        }
    }

    /// Refuses a module if `nfw_filter` and another export run the constructors. If only one does,
    /// that may be intended.
    #[inline(never)]
    pub(super) fn refuse_wrappers(&mut self, types: &Types) -> Result<(), Refusal> {
        let types = types.as_ref();
        let wrappers = || self.wrappers.iter().filter(|it| it.is_one(&types));
        let Some(filter) = wrappers().find(|it| it.name == EXPORT_FILTER) else {
            return Ok(());
        };
        self.inspection.calls_first = Some(filter.first);
        let other = wrappers().find(|it| it.name != EXPORT_FILTER && it.first == filter.first);
        let Some(other) = other else {
            return Ok(());
        };
        refuse!(
            Interface,
            "{} and {} run the module's constructors (function {}) each time that they are called, \
             as wasm-ld has it for programs; link with -Wl,--export=__wasm_call_ctors, so that they \
             run once",
            filter.name,
            other.name,
            filter.first
        )
    }
}

impl Wrapper<'_> {
    /// Whether the functions have the types of those that wasm-ld makes.
    fn is_one(&self, types: &TypesRef<'_>) -> bool {
        let ty = |function| {
            types
                .get(types.core_function_at(function))
                .map(|ty| ty.unwrap_func())
        };
        let is_plain = |function| {
            ty(function).is_some_and(|ty| ty.params().is_empty() && ty.results().is_empty())
        };
        is_plain(self.first)
            && self.last.is_none_or(is_plain)
            && ty(self.wrapped).is_some_and(|ty| ty.params().len() == self.params as usize)
    }
}

/// Parses a body as that of a wrapper. `None` if it is not one.
fn wrapper<'a>(
    name: &'a str,
    body: &FunctionBody<'_>,
) -> Result<Option<Wrapper<'a>>, BinaryReaderError> {
    let mut operators = body.get_operators_reader()?;
    let Operator::Call {
        function_index: first,
    } = operators.read()?
    else {
        return Ok(None);
    };
    let mut params = 0;
    let wrapped = loop {
        match operators.read()? {
            Operator::LocalGet { local_index } if local_index == params => params += 1,
            Operator::Call { function_index } => break function_index,
            _ => return Ok(None),
        }
    };
    let last = match operators.read()? {
        Operator::Call { function_index } => Some(function_index),
        Operator::End => None,
        _ => return Ok(None),
    };
    if last.is_some() && !matches!(operators.read()?, Operator::End) {
        return Ok(None);
    }
    Ok(Some(Wrapper {
        name,
        first,
        wrapped,
        params,
        last,
    }))
}
