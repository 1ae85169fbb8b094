// SPDX-License-Identifier: GPL-2.0-only
//! Checks a module's imports and exports against the guest interface.

use core::fmt;

use nf_wasm_shared::abi::guest::{
    EXPORT_BUF, EXPORT_CONSTRUCTORS, EXPORT_FILTER, EXPORT_INIT, EXPORT_INITIALIZE, EXPORT_MEMORY,
};
use wasmparser::types::{Types, TypesRef};
use wasmparser::ValType::{self, I32};
use wasmparser::{FuncType, ImportSectionReader, TypeRef};

use super::{malformed, Export, ExternKind, Import, Inspector};
use crate::capability::{Module, MODULES};
use crate::refusal::{refuse, Refusal};

impl<'a> Inspector<'a> {
    /// Looks up each import in the table of capabilities.
    #[inline(never)]
    pub(super) fn resolve_imports(
        &mut self,
        section: ImportSectionReader<'a>,
    ) -> Result<(), Refusal> {
        for item in section.into_iter_with_offsets() {
            let (offset, import) = item.map_err(malformed)?;
            let (module, name) = (import.module, import.name);
            let TypeRef::Func(ty) = import.ty else {
                refuse!(
                    Interface,
                    "the import {module:?} {name:?} at offset {offset:#x} is a {}; only functions \
                     can be imported (let the module define and export its own memory)",
                    kind_of(import.ty)
                );
            };
            let found = self.find_import(module, name, ty, offset)?;
            self.inspection.capabilities |= found.capability.bit;
            self.inspection.imports.push(Import { module, name });
        }
        Ok(())
    }

    fn find_import(
        &self,
        module: &str,
        name: &str,
        ty: u32,
        offset: usize,
    ) -> Result<&'static Module, Refusal> {
        let Some(found) = MODULES.iter().find(|m| m.capability.name == module) else {
            if module.starts_with("wasi") {
                refuse!(
                    Unsupported,
                    "the import {module:?} {name:?} at offset {offset:#x} is of WASI, which a \
                     filter has not; build it freestanding, or without what calls the system"
                );
            }
            refuse!(
                Interface,
                "unknown import module {module:?} (of {name:?}, at offset {offset:#x}); there are \
                 {}{}",
                List(MODULES.iter().map(|m| m.capability.name)),
                help(module, name)
            );
        };
        let Some(function) = found.functions.iter().find(|f| f.name == name) else {
            refuse!(
                Interface,
                "unknown import {name:?} of {module} at offset {offset:#x}; it has {}",
                List(found.functions.iter().map(|f| f.name))
            );
        };
        let types = self.validator.types(0);
        let actual = types.as_ref().and_then(|types| function_type(types, ty));
        let same =
            |ty: &FuncType| ty.params() == function.params && ty.results() == function.results;
        match actual {
            Some(actual) if !same(actual) => refuse!(
                Interface,
                "the import {module} {name} at offset {offset:#x} has the type {}; it is {}",
                Signature(actual.params(), actual.results()),
                Signature(function.params, function.results)
            ),
            _ => Ok(found),
        }
    }

    /// Checks the exports that the host calls. Called at the end of a valid module.
    #[inline(never)]
    pub(super) fn check_interface(&mut self, types: &Types) -> Result<(), Refusal> {
        self.refuse_program()?;
        let filter = self.check_export(types, EXPORT_FILTER, &[I32, I32, I32], &[I32])?;
        if !filter {
            refuse!(
                Interface,
                "no export {EXPORT_FILTER}; a filter exports {EXPORT_FILTER} of type {}",
                Signature(&[I32, I32, I32], &[I32])
            );
        }
        for name in [EXPORT_INITIALIZE, EXPORT_CONSTRUCTORS] {
            if self.check_export(types, name, &[], &[])? {
                self.inspection.initializer = Some(name);
                break;
            }
        }
        self.inspection.has_init = self.check_export(types, EXPORT_INIT, &[], &[I32])?;
        self.inspection.has_buf = self.check_export(types, EXPORT_BUF, &[I32], &[I32])?;
        self.refuse_wrappers(types)?;

        match (self.export(EXPORT_MEMORY), self.inspection.memory) {
            (Some(export), _) if export.kind != ExternKind::Memory => refuse!(
                Interface,
                "the export {EXPORT_MEMORY} at offset {:#x} is a {}, not the linear memory",
                export.offset,
                export.kind.name()
            ),
            (None, Some(_)) => refuse!(
                Interface,
                "the linear memory is not exported; export it as {EXPORT_MEMORY:?}"
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn export(&self, name: &str) -> Option<&Export<'a>> {
        self.inspection.exports.iter().find(|e| e.name == name)
    }

    /// Returns whether there is an export `name`. Refuses it unless it is a function of that type
    /// that the module defines.
    fn check_export(
        &self,
        types: &Types,
        name: &str,
        params: &[ValType],
        results: &[ValType],
    ) -> Result<bool, Refusal> {
        let Some(export) = self.export(name) else {
            return Ok(false);
        };
        let offset = export.offset;
        if export.kind != ExternKind::Function {
            refuse!(
                Interface,
                "the export {name} at offset {offset:#x} is a {}, not a function",
                export.kind.name()
            );
        }
        if (export.index as usize) < self.inspection.imports.len() {
            refuse!(
                Interface,
                "the export {name} at offset {offset:#x} is an imported function; export one of \
                 the module's own"
            );
        }
        let types = types.as_ref();
        let ty = types.get(types.core_function_at(export.index));
        match ty.map(|ty| ty.unwrap_func()) {
            Some(ty) if ty.params() == params && ty.results() == results => Ok(true),
            Some(ty) => refuse!(
                Interface,
                "the export {name} (function {} at offset {offset:#x}) has the type {}; it is {}",
                export.index,
                Signature(ty.params(), ty.results()),
                Signature(params, results)
            ),
            None => Ok(false),
        }
    }
}

/// Advice for an import that no capability has.
fn help(module: &str, name: &str) -> &'static str {
    match (module, name) {
        ("env", "abort") => {
            "; AssemblyScript calls it where a check fails: `asc --use abort=` makes that a trap"
        }
        ("env", "memcpy" | "memmove" | "memset" | "memcmp" | "bcmp") => {
            "; it is the C library's: link one (zig: -fcompiler-rt) or define it. clang \
             -mbulk-memory needs it less. Without --allow-undefined the linker says what is missing"
        }
        ("env", _) => {
            "; imports of \"env\" are what the linker did not find: without --allow-undefined it \
             says so"
        }
        _ => "",
    }
}

/// The function type with index `ty`. The validator has checked the index.
fn function_type<'t>(types: &TypesRef<'t>, ty: u32) -> Option<&'t FuncType> {
    if ty >= types.core_type_count_in_module() {
        return None;
    }
    types
        .get(types.core_type_at_in_module(ty))
        .map(|ty| ty.unwrap_func())
}

fn kind_of(ty: TypeRef) -> &'static str {
    match ty {
        TypeRef::Func(_) => "function",
        TypeRef::Table(_) => "table",
        TypeRef::Memory(_) => "memory",
        TypeRef::Global(_) => "global",
        TypeRef::Tag(_) => "tag",
    }
}

/// `(i32, i32) -> (i32)`
struct Signature<'t>(&'t [ValType], &'t [ValType]);

impl fmt::Display for Signature<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signature(params, results) = self;
        write!(f, "({}) -> ({})", List(params.iter()), List(results.iter()))
    }
}

/// Items, separated by commas.
struct List<I>(I);

impl<I: Iterator<Item: fmt::Display> + Clone> fmt::Display for List<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, item) in self.0.clone().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{item}")?;
        }
        Ok(())
    }
}
