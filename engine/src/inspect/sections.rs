// SPDX-License-Identifier: GPL-2.0-only
//! Checks the limits on everything outside function bodies.

use nf_wasm_shared::abi::guest::EXPORT_INITIALIZE;
use nf_wasm_shared::abi::limits;
use wasmparser::{
    CompositeInnerType, ConstExpr, DataKind, DataSectionReader, ElementItems, ElementKind,
    ElementSectionReader, ExportSectionReader, ExternalKind, ImportSectionReader,
    MemorySectionReader, Operator, Payload, TableInit, TableSectionReader, TypeSectionReader,
};

use super::{
    check_count, check_name, malformed, Export, ExternKind, Inspector, MemoryPages, Progress, Rules,
};
use crate::refusal::{refuse, Refusal};

/// Maximum number of tables of a module that is not a filter.
const TABLES_IN_TESTS: u32 = 16;
/// Bytes of a page of linear memory.
const PAGE: u64 = 65_536;

impl<'a> Inspector<'a> {
    /// Checks a payload before it is validated.
    #[inline(never)]
    pub(super) fn check_limits(&mut self, payload: &Payload<'a>) -> Result<(), Refusal> {
        use limits::*;
        match payload {
            Payload::TypeSection(section) => check_types(section.clone()),
            Payload::ImportSection(section) => check_imports(section.clone()),
            Payload::FunctionSection(section) => {
                self.inspection.functions = section.count();
                check_count(
                    "functions",
                    section.count(),
                    FUNCTIONS,
                    section.range().start,
                )
            }
            Payload::TableSection(section) => self.check_tables(section.clone()),
            Payload::MemorySection(section) => self.check_memories(section.clone()),
            Payload::GlobalSection(section) => {
                check_count("globals", section.count(), GLOBALS, section.range().start)
            }
            Payload::ExportSection(section) => {
                check_count("exports", section.count(), EXPORTS, section.range().start)
            }
            Payload::StartSection { range, .. } if self.rules == Rules::Filter => refuse!(
                Unsupported,
                "start functions are not supported (offset {:#x}); export that code as \
                 {EXPORT_INITIALIZE}, which runs once before everything else (AssemblyScript: asc \
                 --exportStart {EXPORT_INITIALIZE})",
                range.start
            ),
            Payload::ElementSection(section) => check_count(
                "element segments",
                section.count(),
                ELEMENT_SEGMENTS,
                section.range().start,
            ),
            Payload::DataCountSection { count, range } => {
                check_count("data segments", *count, DATA_SEGMENTS, range.start)
            }
            Payload::DataSection(section) => check_count(
                "data segments",
                section.count(),
                DATA_SEGMENTS,
                section.range().start,
            ),
            Payload::CodeSectionStart { count, range, .. } => {
                check_count("function bodies", *count, FUNCTIONS, range.start)
            }
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                if range.len() > FUNCTION_BYTES as usize {
                    refuse!(
                        Limit,
                        "the body of a function at offset {:#x} has {} bytes; {FUNCTION_BYTES} \
                         are allowed",
                        range.start,
                        range.len()
                    );
                }
                Ok(())
            }
            Payload::CustomSection(section) => check_name(
                "a custom section",
                section.name(),
                section.data_offset().saturating_sub(section.name().len()),
            ),
            _ => Ok(()),
        }
    }

    /// The checks that are simpler on a valid payload.
    #[inline(never)]
    pub(super) fn check_valid(&mut self, payload: Payload<'a>) -> Result<Progress, Refusal> {
        match payload {
            Payload::ExportSection(section) => self.take_exports(section)?,
            Payload::ElementSection(section) => self.check_elements(section)?,
            // Only filters import nothing but host functions, and have segments at constant
            // offsets.
            _ if self.rules != Rules::Filter => {}
            Payload::ImportSection(section) => self.resolve_imports(section)?,
            Payload::DataSection(section) => self.check_data(section)?,
            _ => {}
        }
        Ok(Progress::Next)
    }

    #[inline(never)]
    fn check_tables(&mut self, section: TableSectionReader<'a>) -> Result<(), Refusal> {
        let limit = match self.rules {
            Rules::Filter => limits::TABLES,
            // The dialect has several tables, but filters do not need them.
            Rules::Dialect => TABLES_IN_TESTS,
        };
        check_count("tables", section.count(), limit, section.range().start)?;
        for item in section.into_iter_with_offsets() {
            let (offset, table) = item.map_err(malformed)?;
            if !matches!(table.init, TableInit::RefNull) {
                refuse!(
                    Unsupported,
                    "the table at offset {offset:#x} has an initial value, which is not \
                     supported; use an element segment"
                );
            }
            if table.ty.initial > u64::from(limits::TABLE_ELEMENTS) {
                refuse!(
                    Limit,
                    "the table at offset {offset:#x} has {} elements; {} are allowed",
                    table.ty.initial,
                    limits::TABLE_ELEMENTS
                );
            }
            self.table_elements = table.ty.initial;
        }
        Ok(())
    }

    #[inline(never)]
    fn check_memories(&mut self, section: MemorySectionReader<'a>) -> Result<(), Refusal> {
        if section.count() > limits::MEMORIES {
            refuse!(
                Unsupported,
                "{} memories at offset {:#x}; the multi-memory proposal is not supported",
                section.count(),
                section.range().start
            );
        }
        for item in section.into_iter_with_offsets() {
            let (offset, memory) = item.map_err(malformed)?;
            // The validator refuses these.
            if memory.memory64 || memory.shared || memory.page_size_log2.is_some() {
                continue;
            }
            if memory.initial > u64::from(limits::MEMORY_PAGES) {
                refuse!(
                    Limit,
                    "the linear memory at offset {offset:#x} begins with {} pages; {} are \
                     allowed (a smaller stack and heap are options of the linker)",
                    memory.initial,
                    limits::MEMORY_PAGES
                );
            }
            self.inspection.memory = Some(MemoryPages {
                min: memory.initial as u32,
                max: memory.maximum,
            });
        }
        Ok(())
    }

    #[inline(never)]
    fn take_exports(&mut self, section: ExportSectionReader<'a>) -> Result<(), Refusal> {
        for item in section.into_iter_with_offsets() {
            let (offset, export) = item.map_err(malformed)?;
            check_name("an export", export.name, offset)?;
            let kind = match export.kind {
                ExternalKind::Func => ExternKind::Function,
                ExternalKind::Table => ExternKind::Table,
                ExternalKind::Memory => ExternKind::Memory,
                ExternalKind::Global => ExternKind::Global,
                ExternalKind::Tag => refuse!(
                    Unsupported,
                    "the export at offset {offset:#x} is an exception tag, which is not supported"
                ),
            };
            self.inspection.exports.push(Export {
                name: export.name,
                kind,
                index: export.index,
                offset,
            });
        }
        Ok(())
    }

    #[inline(never)]
    fn check_elements(&mut self, section: ElementSectionReader<'a>) -> Result<(), Refusal> {
        for item in section.into_iter_with_offsets() {
            let (offset, element) = item.map_err(malformed)?;
            let count = match &element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            check_count(
                "elements of a segment",
                count,
                limits::TABLE_ELEMENTS,
                offset,
            )?;
            if self.rules != Rules::Filter {
                continue;
            }
            if let ElementKind::Active { offset_expr, .. } = element.kind {
                let begin = constant(&offset_expr).unwrap_or(u32::MAX);
                if u64::from(begin) + u64::from(count) > self.table_elements {
                    refuse!(
                        Interface,
                        "the element segment at offset {offset:#x} fills elements {begin} to {}, \
                         and the table has {}",
                        u64::from(begin) + u64::from(count),
                        self.table_elements
                    );
                }
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn check_data(&mut self, section: DataSectionReader<'a>) -> Result<(), Refusal> {
        let memory = self.inspection.memory;
        let memory_bytes = memory.map_or(0, |pages| u64::from(pages.min) * PAGE);
        for item in section.into_iter_with_offsets() {
            let (offset, data) = item.map_err(malformed)?;
            if let DataKind::Active { offset_expr, .. } = data.kind {
                let begin = constant(&offset_expr).unwrap_or(u32::MAX);
                let end = u64::from(begin) + data.data.len() as u64;
                if end > memory_bytes {
                    refuse!(
                        Interface,
                        "the data segment at offset {offset:#x} fills bytes {begin:#x} to \
                         {end:#x}, and the linear memory begins with {memory_bytes:#x}"
                    );
                }
            }
        }
        Ok(())
    }
}

#[inline(never)]
fn check_types(section: TypeSectionReader<'_>) -> Result<(), Refusal> {
    check_count(
        "function types",
        section.count(),
        limits::TYPES,
        section.range().start,
    )?;
    for item in section.into_iter_with_offsets() {
        let (offset, group) = item.map_err(malformed)?;
        for ty in group.types() {
            // The validator refuses other types.
            if let CompositeInnerType::Func(ty) = &ty.composite_type.inner {
                check_count(
                    "parameters of a function type",
                    ty.params().len() as u32,
                    limits::PARAMS,
                    offset,
                )?;
                check_count(
                    "results of a function type",
                    ty.results().len() as u32,
                    limits::RESULTS,
                    offset,
                )?;
            }
        }
    }
    Ok(())
}

#[inline(never)]
fn check_imports(section: ImportSectionReader<'_>) -> Result<(), Refusal> {
    check_count(
        "imports",
        section.count(),
        limits::IMPORTS,
        section.range().start,
    )?;
    for item in section.into_iter_with_offsets() {
        let (offset, import) = item.map_err(malformed)?;
        check_name("an import's module", import.module, offset)?;
        check_name("an import", import.name, offset)?;
    }
    Ok(())
}

/// The value of a valid offset. It is always an `i32.const`, because globals cannot be imported.
fn constant(expression: &ConstExpr<'_>) -> Option<u32> {
    match expression.get_operators_reader().read() {
        Ok(Operator::I32Const { value }) => Some(value as u32),
        _ => None,
    }
}
