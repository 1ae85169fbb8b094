// SPDX-License-Identifier: GPL-2.0-only
//! Decides whether a Wasm module may be loaded, and finds its imports, exports and capabilities.
//!
//! All validation is here: the limits of `shared/src/abi/limits.rs`, the specification's validation
//! (by wasmparser), and the guest interface. wasmi validates again, but it panics on features that
//! its configuration excludes. This file refuses all of those first.

mod code;
mod command;
mod interface;
mod malformed;
mod sections;

use alloc::vec::Vec;
use nf_wasm_shared::abi::limits;
use wasmparser::{Chunk, FuncValidatorAllocations, Parser, Payload, ValidPayload, Validator};

use crate::config::FEATURES;
use crate::refusal::{refuse, Refusal};
use command::Wrapper;
use malformed::{malformed, malformed_in};

/// A function that a module imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Import<'a> {
    /// The import module: the name of the capability that the import requires.
    pub module: &'a str,
    /// The function.
    pub name: &'a str,
}

/// The kind of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are Wasm's own words")]
pub enum ExternKind {
    Function,
    Table,
    Memory,
    Global,
}

impl ExternKind {
    /// The name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            ExternKind::Function => "func",
            ExternKind::Table => "table",
            ExternKind::Memory => "memory",
            ExternKind::Global => "global",
        }
    }
}

/// An export of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its kind.
    pub kind: ExternKind,
    pub(crate) index: u32,
    pub(crate) offset: usize,
}

/// Pages of 64 KiB of a linear memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPages {
    /// The initial size.
    pub min: u32,
    /// The maximum, if the module declares one.
    pub max: Option<u64>,
}

/// Facts about a module that may be loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection<'a> {
    /// Its imports, in the module's order.
    pub imports: Vec<Import<'a>>,
    /// Its exports, in the module's order.
    pub exports: Vec<Export<'a>>,
    /// Set of the capabilities that its imports require.
    pub capabilities: u64,
    /// Its linear memory, if it has one.
    pub memory: Option<MemoryPages>,
    /// Number of functions that it defines.
    pub functions: u32,
    /// The export that sets up the language's runtime, if there is one.
    pub initializer: Option<&'static str>,
    /// The function that `nfw_filter` calls first, if `nfw_filter` is a wrapper: apart from that
    /// call it only passes its parameters to another function. wasm-ld makes commands run
    /// constructors like that.
    pub calls_first: Option<u32>,
    /// It exports `nfw_init`.
    pub has_init: bool,
    /// It exports `nfw_buf`.
    pub has_buf: bool,
}

/// Inspects a module.
///
/// # Errors
///
/// A [`Refusal`] that names the first problem.
pub fn inspect(wasm: &[u8]) -> Result<Inspection<'_>, Refusal> {
    inspect_by(wasm, Rules::Filter)
}

/// The rules for a module, besides the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// The guest interface of filters.
    Filter,
    /// Only the dialect of filters: for tests.
    Dialect,
}

/// Inspects a module by other rules than those for filters.
pub(crate) fn inspect_by(wasm: &[u8], rules: Rules) -> Result<Inspection<'_>, Refusal> {
    malformed::check_header(wasm)?;
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    let mut inspector = Inspector::new(rules);
    let mut rest = wasm;
    loop {
        let (consumed, payload) = next_payload(&mut parser, rest)?;
        rest = &rest[consumed..];
        if inspector.payload(payload)? == Progress::End {
            return Ok(inspector.inspection);
        }
    }
}

#[inline(never)]
fn next_payload<'a>(parser: &mut Parser, rest: &'a [u8]) -> Result<(usize, Payload<'a>), Refusal> {
    match parser.parse(rest, true).map_err(malformed)? {
        Chunk::Parsed { consumed, payload } => Ok((consumed, payload)),
        Chunk::NeedMoreData(_) => refuse!(
            Malformed,
            "the module ends too early at offset {:#x}",
            parser.offset()
        ),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Next,
    End,
}

struct Inspector<'a> {
    validator: Validator,
    /// Reused from function to function.
    allocations: FuncValidatorAllocations,
    inspection: Inspection<'a>,
    /// Initial number of the table's elements.
    table_elements: u64,
    /// Exports that are wrappers of another function.
    wrappers: Vec<Wrapper<'a>>,
    rules: Rules,
}

impl<'a> Inspector<'a> {
    fn new(rules: Rules) -> Self {
        Self {
            validator: Validator::new_with_features(FEATURES),
            allocations: FuncValidatorAllocations::default(),
            inspection: Inspection::default(),
            table_elements: 0,
            wrappers: Vec::new(),
            rules,
        }
    }

    /// Checks limits first, so that the validator sees no number over a limit.
    fn payload(&mut self, payload: Payload<'a>) -> Result<Progress, Refusal> {
        self.check_limits(&payload)?;
        match self.validate(&payload)? {
            ValidPayload::Func(func, body) => self.check_body(func, &body)?,
            ValidPayload::End(types) => {
                if self.rules == Rules::Filter {
                    self.check_interface(&types)?;
                }
                return Ok(Progress::End);
            }
            // Only components have these, and `check_header` refuses components.
            ValidPayload::Parser(_) => refuse!(Unsupported, "nested modules are not supported"),
            ValidPayload::Ok => {}
        }
        self.check_valid(payload)?;
        Ok(Progress::Next)
    }

    #[inline(never)]
    fn validate(&mut self, payload: &Payload<'a>) -> Result<ValidPayload<'a>, Refusal> {
        self.validator.payload(payload).map_err(malformed)
    }
}

/// Refuses a count over its limit.
fn check_count(what: &str, count: u32, limit: u32, offset: usize) -> Result<(), Refusal> {
    if count > limit {
        refuse!(
            Limit,
            "{count} {what} at offset {offset:#x}; {limit} are allowed"
        );
    }
    Ok(())
}

/// Refuses a name that is too long.
fn check_name(what: &str, name: &str, offset: usize) -> Result<(), Refusal> {
    if name.len() > limits::NAME_BYTES as usize {
        refuse!(
            Limit,
            "the name of {what} at offset {offset:#x} has {} bytes; {} are allowed",
            name.len(),
            limits::NAME_BYTES
        );
    }
    Ok(())
}
