// SPDX-License-Identifier: GPL-2.0-only
//! Wasm modules full of integers, memory accesses, branches and calls, with values at the edges:
//! the cases that compilers get wrong. The modules have no imports.
//!
//! | file | |
//! |---|---|
//! | `shape.rs` | chooses memory, functions, table, and rare large parts |
//! | `value.rs` | code that pushes one value |
//! | `statement.rs` | code that leaves the stack unchanged |
//! | `control.rs` | blocks, loops and branches, with values |
//! | `large.rs` | many locals, deep stacks, code that near jumps do not reach across |
//!
//! `tests/generate/tests/quality.rs` checks which shapes occur.

mod control;
mod large;
mod shape;
mod statement;
mod value;

use arbitrary::{Result, Unstructured};
use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, InstructionSink, MemorySection, MemoryType,
    RefType, TableSection, TableType, ValType,
};
use ValType::{I32, I64};

use control::Label;
use shape::{Shape, Types};

/// Initial values of the globals. The last global is immutable.
pub const GLOBALS: [(ValType, i64); 3] = [(I32, 7), (I64, -7), (I32, 1_000)];

/// Maximum nesting of expressions.
const DEPTH: u32 = 5;
/// Types of the locals that every function has after its parameters.
const LOCALS: [ValType; 4] = [I32, I64, I32, I64];
/// Number of locals that count rounds. They are the last locals.
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

/// A Wasm module, and the facts that a test needs about it.
#[derive(Clone, Debug)]
pub struct Module {
    /// The binary. It exports the function `f` with three parameters of type `i32`, the memory, and
    /// the globals `g0` to `g2`.
    pub wasm: Vec<u8>,
    /// Pages of the memory, which cannot grow.
    pub pages: u64,
    /// Results of `f`, in most modules one `i32`.
    pub results: Vec<ValType>,
}

/// Offsets of accesses: around the largest that an instruction can encode, and around page ends.
const FAR: [u64; 9] = [
    0x7ffe,
    0x7fff,
    0x8000,
    0x8001,
    0xfffe,
    0xffff,
    0x1_0000,
    0x1_fffc,
    0xffff_ffff,
];

/// Makes a module of random bytes.
///
/// # Errors
///
/// The bytes do not suffice.
pub fn module(u: &mut Unstructured<'_>) -> Result<Module> {
    make(u, false)
}

/// Makes a module whose functions only read, mostly where the first two parameters point. `f`
/// returns one `i32`.
///
/// # Errors
///
/// The bytes do not suffice.
pub fn reader(u: &mut Unstructured<'_>) -> Result<Module> {
    make(u, true)
}

fn make(u: &mut Unstructured<'_>, only_reads: bool) -> Result<Module> {
    let shape = Shape::new(u, only_reads)?;
    let mut types = Types::of(&shape.signatures);
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for (index, (params, results)) in shape.signatures.iter().enumerate() {
        functions.function(index as u32);
        let more = shape.locals(u, index)?;
        let mut function = Function::new(more.iter().map(|ty| (1, *ty)));
        let mut body = Body {
            u,
            to: function.instructions(),
            shape: &shape,
            types: &mut types,
            index,
            locals: params.iter().chain(&more).copied().collect(),
            results,
            only_reads,
            labels: Vec::new(),
            loops: 0,
            left: shape.instructions,
        };
        body.all()?;
        code.function(&function);
    }
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: shape.table.len() as u64,
        maximum: None,
        shared: false,
    });
    let mut elements = ElementSection::new();
    for (at, function) in (0..).zip(&shape.table) {
        if let Some(function) = function {
            let members = [*function];
            elements.active(
                None,
                &ConstExpr::i32_const(at),
                Elements::Functions(members.as_slice().into()),
            );
        }
    }
    let mut memories = MemorySection::new();
    // So that a module grows as little as a filter.
    memories.memory(MemoryType {
        minimum: shape.pages,
        maximum: Some(shape.pages),
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
    let mut module = wasm_encoder::Module::new();
    module.section(&types.section());
    module.section(&functions).section(&tables);
    module.section(&memories).section(&globals);
    module.section(&exports).section(&elements).section(&code);
    Ok(Module {
        wasm: module.finish(),
        pages: shape.pages,
        results: shape.signatures[0].1.clone(),
    })
}

struct Body<'a, 'b, 'c> {
    u: &'a mut Unstructured<'b>,
    to: InstructionSink<'c>,
    shape: &'a Shape,
    types: &'a mut Types,
    /// The function's index.
    index: usize,
    locals: Vec<ValType>,
    results: &'a [ValType],
    /// The function must neither write nor call.
    only_reads: bool,
    /// The labels of the enclosing frames, the innermost last.
    labels: Vec<Label>,
    loops: u32,
    /// Roughly how many more instructions may be made.
    left: u32,
}

impl Body<'_, '_, '_> {
    fn all(&mut self) -> Result<()> {
        self.labels.push(Label::end(self.results));
        let is_large = self.locals.len() > 100;
        if is_large {
            self.fill_locals()?;
        }
        if self.index == 0 && self.shape.is_long {
            self.long_code()?;
        }
        for _ in 0..self.u.int_in_range(1..=8)? {
            self.statement(0)?;
        }
        if is_large {
            self.read_locals();
        }
        for ty in self.results {
            self.value(*ty, 0)?;
            if self.index == 0 && *ty == I32 && (self.only_reads || self.pick(3)? != 0) {
                // Make the result a verdict: 0 or 1.
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

    /// A local of this type that is not a counter of rounds.
    fn local(&mut self, ty: ValType) -> Result<u32> {
        let most = self.locals.len() as u32 - COUNTERS;
        let all: Vec<u32> = (0..most)
            .filter(|at| self.locals[*at as usize] == ty)
            .collect();
        Ok(*self.u.choose(&all)?)
    }
}
