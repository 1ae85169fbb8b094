// SPDX-License-Identifier: GPL-2.0-only
//! Modules full of integers, accesses to memory, branches and calls, at their edges: what a compiler
//! gets wrong. They import nothing.

mod statement;
mod value;

use arbitrary::{Result, Unstructured};
use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, InstructionSink, MemorySection, MemoryType, Module,
    RefType, TableSection, TableType, TypeSection, ValType,
};
use ValType::{I32, I64};

/// Pages of the memory.
pub const PAGES: u64 = 2;
/// Values of the globals; the last cannot change.
pub const GLOBALS: [(ValType, i64); 3] = [(I32, 7), (I64, -7), (I32, 1_000)];
/// Elements of the table.
pub const TABLE: u32 = 8;

/// Expressions in expressions.
const DEPTH: u32 = 5;
/// The functions: the first is exported as `f`.
const SIGNATURES: [(&[ValType], &[ValType]); 5] = [
    (&[I32, I32, I32], &[I32]),
    (&[I32], &[I32]),
    (&[I64, I32], &[I64]),
    (&[], &[I32, I64]),
    (&[I32], &[I32]),
];
/// Types of blocks with parameters, behind those of functions.
const BLOCKS: [(&[ValType], &[ValType]); 2] = [(&[I32, I32], &[I32, I32]), (&[I64, I32], &[I32])];
/// Locals of each function behind its parameters. The last ones count rounds.
const LOCALS: [ValType; 6] = [I32, I64, I32, I64, I32, I32];
const COUNTERS: u32 = 2;

const EDGES: [i64; 18] = [
    0,
    1,
    2,
    3,
    8,
    31,
    32,
    33,
    63,
    64,
    255,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    i32::MAX as i64,
    i32::MIN as i64,
    -1,
];
const WIDE_EDGES: [i64; 5] = [
    i64::MIN,
    i64::MAX,
    0xffff_ffff,
    0x1_0000_0000,
    0x1234_5678_9abc_def0,
];

/// A module of random bytes.
///
/// # Errors
///
/// The bytes do not suffice.
pub fn module(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    make(u, false)
}

/// A module whose functions only read, most of all where the first two parameters point.
///
/// # Errors
///
/// The bytes do not suffice.
pub fn reader(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    make(u, true)
}

fn make(u: &mut Unstructured<'_>, only_reads: bool) -> Result<Vec<u8>> {
    let mut types = TypeSection::new();
    for (params, results) in SIGNATURES.iter().chain(&BLOCKS) {
        types
            .ty()
            .function(params.iter().copied(), results.iter().copied());
    }
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for (index, (params, results)) in SIGNATURES.iter().enumerate() {
        functions.function(index as u32);
        let locals = params.iter().chain(&LOCALS).copied().collect();
        let mut function = Function::new(LOCALS.map(|ty| (1, ty)));
        let mut body = Body {
            u,
            to: function.instructions(),
            locals,
            results,
            only_reads,
            labels: Vec::new(),
            loops: 0,
            left: 60,
        };
        body.all()?;
        code.function(&function);
    }
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: TABLE.into(),
        maximum: None,
        shared: false,
    });
    let mut elements = ElementSection::new();
    let members = [1, 2, 4, 1];
    elements.active(
        None,
        &ConstExpr::i32_const(1),
        Elements::Functions(members.as_slice().into()),
    );
    let mut memories = MemorySection::new();
    // So that it grows as little as a filter's.
    memories.memory(MemoryType {
        minimum: PAGES,
        maximum: Some(PAGES),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut globals = GlobalSection::new();
    for (at, (ty, value)) in GLOBALS.iter().enumerate() {
        let ty = GlobalType {
            val_type: *ty,
            mutable: at + 1 < GLOBALS.len(),
            shared: false,
        };
        globals.global(
            ty,
            &match ty.val_type {
                I64 => ConstExpr::i64_const(*value),
                _ => ConstExpr::i32_const(*value as i32),
            },
        );
    }
    let mut exports = ExportSection::new();
    exports.export("f", ExportKind::Func, 0);
    exports.export("memory", ExportKind::Memory, 0);
    for global in 0..GLOBALS.len() as u32 {
        exports.export(&format!("g{global}"), ExportKind::Global, global);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&tables);
    module.section(&memories).section(&globals);
    module.section(&exports).section(&elements).section(&code);
    Ok(module.finish())
}

struct Body<'a, 'b, 'c> {
    u: &'a mut Unstructured<'b>,
    to: InstructionSink<'c>,
    locals: Vec<ValType>,
    results: &'static [ValType],
    /// It neither writes nor calls.
    only_reads: bool,
    /// What branches to each label take along, the innermost last.
    labels: Vec<Vec<ValType>>,
    loops: u32,
    /// Instructions that may still be made, about.
    left: u32,
}

impl Body<'_, '_, '_> {
    fn all(&mut self) -> Result<()> {
        self.labels.push(self.results.to_vec());
        for _ in 0..self.u.int_in_range(1..=8)? {
            self.statement(0)?;
        }
        for ty in self.results {
            self.value(*ty, 0)?;
            if self.only_reads && *ty == I32 {
                // A verdict.
                self.to.i32_const(1).i32_and();
            }
        }
        self.to.end();
        Ok(())
    }

    fn pick(&mut self, most: u32) -> Result<u32> {
        self.left = self.left.saturating_sub(1);
        self.u.int_in_range(0..=most)
    }

    /// A local of this type, none that counts.
    fn local(&mut self, ty: ValType) -> Result<u32> {
        let most = self.locals.len() as u32 - COUNTERS;
        let all: Vec<u32> = (0..most)
            .filter(|at| self.locals[*at as usize] == ty)
            .collect();
        Ok(*self.u.choose(&all)?)
    }
}
