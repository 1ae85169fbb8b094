// SPDX-License-Identifier: GPL-2.0-only
//! Modules full of integers, accesses to memory, branches and calls, at their edges: what a compiler
//! gets wrong. They import nothing.

use arbitrary::{Result, Unstructured};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ElementSection, Elements, ExportKind, ExportSection,
    Function, FunctionSection, GlobalSection, GlobalType, InstructionSink, MemArg, MemorySection,
    MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
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
        }
        self.to.end();
        Ok(())
    }

    fn pick(&mut self, most: u32) -> Result<u32> {
        self.left = self.left.saturating_sub(1);
        self.u.int_in_range(0..=most)
    }

    fn constant(&mut self, ty: ValType) -> Result<()> {
        let value = match self.pick(3)? {
            0 => self.u.arbitrary()?,
            1 if ty == I64 => *self.u.choose(&WIDE_EDGES)?,
            _ => *self.u.choose(&EDGES)?,
        };
        match ty {
            I64 => self.to.i64_const(value),
            _ => self.to.i32_const(value as i32),
        };
        Ok(())
    }

    /// A local of this type, none that counts.
    fn local(&mut self, ty: ValType) -> Result<u32> {
        let most = self.locals.len() as u32 - COUNTERS;
        let all: Vec<u32> = (0..most)
            .filter(|at| self.locals[*at as usize] == ty)
            .collect();
        Ok(*self.u.choose(&all)?)
    }

    fn place(&mut self) -> Result<MemArg> {
        let offset = match self.pick(7)? {
            0 => *self
                .u
                .choose(&[0x7ffe, 0x8000, 0xffff, 0x1_fffc, 0xffff_ffff])?,
            1 => self.u.int_in_range(0..=300)?,
            _ => self.u.int_in_range(0..=12)?,
        };
        Ok(MemArg {
            offset,
            align: 0,
            memory_index: 0,
        })
    }

    /// Mostly within the memory.
    fn address(&mut self, depth: u32) -> Result<()> {
        match self.pick(5)? {
            0 => self.value(I32, depth),
            1 => {
                self.to.i32_const(self.u.int_in_range(0..=0x2_0004)?);
                Ok(())
            }
            2 => {
                self.value(I32, depth)?;
                self.to.i32_const(0x1_ffff).i32_and();
                Ok(())
            }
            _ => {
                let local = self.local(I32)?;
                self.to.local_get(local);
                Ok(())
            }
        }
    }

    fn value(&mut self, ty: ValType, depth: u32) -> Result<()> {
        if depth >= DEPTH || self.left == 0 {
            return match self.pick(2)? {
                0 => self.constant(ty),
                _ => {
                    let local = self.local(ty)?;
                    self.to.local_get(local);
                    Ok(())
                }
            };
        }
        match self.pick(17)? {
            0 => self.constant(ty),
            1 | 2 => {
                let local = self.local(ty)?;
                self.to.local_get(local);
                Ok(())
            }
            3..=6 => self.binary(ty, depth + 1),
            7 => self.unary(ty, depth + 1),
            8 => self.comparison(ty, depth + 1),
            9 | 10 => self.load(ty, depth + 1),
            11 => {
                self.to.global_get(if ty == I64 {
                    1
                } else {
                    2 * self.u.int_in_range(0..=1)?
                });
                Ok(())
            }
            12 => {
                self.value(ty, depth + 1)?;
                let local = self.local(ty)?;
                self.to.local_tee(local);
                Ok(())
            }
            13 => {
                self.value(ty, depth + 1)?;
                self.value(ty, depth + 1)?;
                self.value(I32, depth + 1)?;
                self.to.select();
                Ok(())
            }
            14 => {
                self.value(I32, depth + 1)?;
                self.to.if_(BlockType::Result(ty));
                self.labels.push(vec![ty]);
                self.value(ty, depth + 1)?;
                self.to.else_();
                self.value(ty, depth + 1)?;
                self.labels.pop();
                self.to.end();
                Ok(())
            }
            15 => {
                self.to.block(BlockType::Result(ty));
                self.labels.push(vec![ty]);
                self.value(ty, depth + 1)?;
                self.value(I32, depth + 1)?;
                self.to.br_if(0);
                self.to.drop();
                self.value(ty, depth + 1)?;
                self.labels.pop();
                self.to.end();
                Ok(())
            }
            16 => self.call(ty, depth + 1),
            _ if ty == I32 => match self.pick(2)? {
                0 => {
                    self.to.memory_size(0);
                    Ok(())
                }
                1 => {
                    self.value(I32, depth + 1)?;
                    self.to.memory_grow(0);
                    Ok(())
                }
                _ => self.block_with_parameters(depth + 1),
            },
            _ => self.constant(ty),
        }
    }

    /// A block that takes values and gives one.
    fn block_with_parameters(&mut self, depth: u32) -> Result<()> {
        let first = SIGNATURES.len() as u32;
        if self.pick(1)? == 0 {
            self.value(I64, depth)?;
            self.value(I32, depth)?;
            self.to.block(BlockType::FunctionType(first + 1));
            self.labels.push(vec![I32]);
            let (a, b) = (self.local(I32)?, self.local(I64)?);
            self.to.local_set(a).local_set(b);
            self.value(I32, depth)?;
        } else {
            self.value(I32, depth)?;
            self.value(I32, depth)?;
            self.value(I32, depth)?;
            self.to.if_(BlockType::FunctionType(first));
            self.labels.push(vec![I32, I32]);
            let (a, b) = (self.local(I32)?, self.local(I32)?);
            self.to.local_set(a).local_set(b);
            self.to.local_get(a).local_get(b);
            if self.pick(1)? == 0 {
                self.value(I32, depth)?;
                self.to.br_if(0);
            }
            if self.pick(1)? == 0 {
                self.to.else_();
                self.to.i32_sub();
                self.value(I32, depth)?;
            }
            self.labels.pop();
            self.to.end().i32_xor();
            return Ok(());
        }
        self.labels.pop();
        self.to.end();
        Ok(())
    }

    fn binary(&mut self, ty: ValType, depth: u32) -> Result<()> {
        self.value(ty, depth)?;
        self.value(ty, depth)?;
        let op = self.pick(16)?;
        let to = &mut self.to;
        match (ty, op) {
            (I64, 0 | 15) => to.i64_add(),
            (I64, 1) => to.i64_sub(),
            (I64, 2) => to.i64_mul(),
            (I64, 3) => to.i64_and(),
            (I64, 4) => to.i64_or(),
            (I64, 5) => to.i64_xor(),
            (I64, 6) => to.i64_shl(),
            (I64, 7) => to.i64_shr_s(),
            (I64, 8) => to.i64_shr_u(),
            (I64, 9) => to.i64_rotl(),
            (I64, 10) => to.i64_rotr(),
            (I64, 11) => to.i64_div_s(),
            (I64, 12) => to.i64_div_u(),
            (I64, 13) => to.i64_rem_s(),
            (I64, 14) => to.i64_rem_u(),
            (I64, _) => to.i64_sub(),
            (_, 0 | 15) => to.i32_add(),
            (_, 1) => to.i32_sub(),
            (_, 2) => to.i32_mul(),
            (_, 3) => to.i32_and(),
            (_, 4) => to.i32_or(),
            (_, 5) => to.i32_xor(),
            (_, 6) => to.i32_shl(),
            (_, 7) => to.i32_shr_s(),
            (_, 8) => to.i32_shr_u(),
            (_, 9) => to.i32_rotl(),
            (_, 10) => to.i32_rotr(),
            (_, 11) => to.i32_div_s(),
            (_, 12) => to.i32_div_u(),
            (_, 13) => to.i32_rem_s(),
            (_, 14) => to.i32_rem_u(),
            (_, _) => to.i32_sub(),
        };
        Ok(())
    }

    fn unary(&mut self, ty: ValType, depth: u32) -> Result<()> {
        let op = self.pick(7)?;
        if ty == I64 && op >= 6 {
            self.value(I32, depth)?;
            if op == 6 {
                self.to.i64_extend_i32_s();
            } else {
                self.to.i64_extend_i32_u();
            }
            return Ok(());
        }
        if ty == I32 && op >= 5 {
            self.value(I64, depth)?;
            self.to.i32_wrap_i64();
            return Ok(());
        }
        self.value(ty, depth)?;
        let to = &mut self.to;
        match (ty, op) {
            (I64, 0) => to.i64_clz(),
            (I64, 1) => to.i64_ctz(),
            (I64, 2) => to.i64_popcnt(),
            (I64, 3) => to.i64_extend8_s(),
            (I64, 4) => to.i64_extend16_s(),
            (I64, _) => to.i64_extend32_s(),
            (_, 0) => to.i32_clz(),
            (_, 1) => to.i32_ctz(),
            (_, 2) => to.i32_popcnt(),
            (_, 3) => to.i32_extend8_s(),
            (_, _) => to.i32_extend16_s(),
        };
        Ok(())
    }

    fn comparison(&mut self, ty: ValType, depth: u32) -> Result<()> {
        let of = if self.pick(1)? == 0 { I32 } else { I64 };
        self.value(of, depth)?;
        let op = self.pick(10)?;
        if op < 10 {
            self.value(of, depth)?;
        }
        let to = &mut self.to;
        match (of, op) {
            (I64, 0) => to.i64_eq(),
            (I64, 1) => to.i64_ne(),
            (I64, 2) => to.i64_lt_s(),
            (I64, 3) => to.i64_lt_u(),
            (I64, 4) => to.i64_gt_s(),
            (I64, 5) => to.i64_gt_u(),
            (I64, 6) => to.i64_le_s(),
            (I64, 7) => to.i64_le_u(),
            (I64, 8) => to.i64_ge_s(),
            (I64, 9) => to.i64_ge_u(),
            (I64, _) => to.i64_eqz(),
            (_, 0) => to.i32_eq(),
            (_, 1) => to.i32_ne(),
            (_, 2) => to.i32_lt_s(),
            (_, 3) => to.i32_lt_u(),
            (_, 4) => to.i32_gt_s(),
            (_, 5) => to.i32_gt_u(),
            (_, 6) => to.i32_le_s(),
            (_, 7) => to.i32_le_u(),
            (_, 8) => to.i32_ge_s(),
            (_, 9) => to.i32_ge_u(),
            (_, _) => to.i32_eqz(),
        };
        if self.pick(3)? == 0 {
            self.to.i32_eqz();
        }
        if ty == I64 {
            self.to.i64_extend_i32_u();
        }
        Ok(())
    }

    fn load(&mut self, ty: ValType, depth: u32) -> Result<()> {
        self.address(depth)?;
        let place = self.place()?;
        let op = self.pick(6)?;
        let to = &mut self.to;
        match (ty, op) {
            (I64, 0) => to.i64_load8_s(place),
            (I64, 1) => to.i64_load8_u(place),
            (I64, 2) => to.i64_load16_s(place),
            (I64, 3) => to.i64_load16_u(place),
            (I64, 4) => to.i64_load32_s(place),
            (I64, 5) => to.i64_load32_u(place),
            (I64, _) => to.i64_load(place),
            (_, 0) => to.i32_load8_s(place),
            (_, 1) => to.i32_load8_u(place),
            (_, 2) => to.i32_load16_s(place),
            (_, 3) => to.i32_load16_u(place),
            (_, _) => to.i32_load(place),
        };
        Ok(())
    }

    /// Calls a function that gives a value of this type.
    fn call(&mut self, ty: ValType, depth: u32) -> Result<()> {
        let function = match (ty, self.pick(2)?) {
            (I64, 0) => 3,
            (I64, _) => 2,
            (_, 0) => 3,
            (_, 1) => 1,
            (_, _) => 4,
        };
        let (params, _) = SIGNATURES[function];
        for param in params {
            self.value(*param, depth)?;
        }
        if function != 3 && self.pick(1)? == 0 {
            match self.pick(2)? {
                0 => self.value(I32, depth)?,
                _ => {
                    self.to.i32_const(self.u.int_in_range(0..=TABLE as i32)?);
                }
            }
            self.to.call_indirect(0, function as u32);
        } else {
            self.to.call(function as u32);
        }
        if function == 3 {
            // One of its two results.
            match ty {
                I64 => {
                    let local = self.local(I64)?;
                    self.to.local_set(local).drop().local_get(local);
                }
                _ => {
                    self.to.drop();
                }
            }
        }
        Ok(())
    }

    /// A label that a branch takes nothing to.
    fn label(&mut self) -> Result<Option<u32>> {
        let all: Vec<u32> = self
            .labels
            .iter()
            .rev()
            .enumerate()
            .filter(|(_, taken)| taken.is_empty())
            .map(|(depth, _)| depth as u32)
            .collect();
        if all.is_empty() {
            return Ok(None);
        }
        Ok(Some(*self.u.choose(&all)?))
    }

    fn statements(&mut self, depth: u32) -> Result<()> {
        for _ in 0..self.u.int_in_range(0..=3)? {
            self.statement(depth)?;
        }
        Ok(())
    }

    fn statement(&mut self, depth: u32) -> Result<()> {
        if self.left == 0 || depth >= DEPTH {
            return Ok(());
        }
        match self.pick(15)? {
            0..=3 => {
                let ty = if self.pick(1)? == 0 { I32 } else { I64 };
                self.value(ty, depth)?;
                let local = self.local(ty)?;
                self.to.local_set(local);
            }
            4 => {
                let global = self.pick(1)?;
                self.value(if global == 0 { I32 } else { I64 }, depth)?;
                self.to.global_set(global);
            }
            5 | 6 => self.store(depth)?,
            7 => {
                self.value(I32, depth)?;
                self.to.if_(BlockType::Empty);
                self.labels.push(Vec::new());
                self.statements(depth + 1)?;
                if self.pick(1)? == 0 {
                    self.to.else_();
                    self.statements(depth + 1)?;
                }
                self.labels.pop();
                self.to.end();
            }
            8 | 9 if self.loops < COUNTERS => self.rounds(depth)?,
            10 => {
                self.to.block(BlockType::Empty);
                self.labels.push(Vec::new());
                self.statements(depth + 1)?;
                self.labels.pop();
                self.to.end();
            }
            11 => {
                if let Some(label) = self.label()? {
                    self.value(I32, depth)?;
                    self.to.br_if(label);
                }
            }
            12 => self.table(depth)?,
            13 => match self.pick(3)? {
                0 => {
                    for ty in self.results {
                        self.value(*ty, depth)?;
                    }
                    self.value(I32, depth)?;
                    let function = self.labels.len() as u32 - 1;
                    self.to.br_if(function);
                    for _ in self.results {
                        self.to.drop();
                    }
                }
                1 => {
                    // Nothing behind it can be reached.
                    self.to.block(BlockType::Empty);
                    self.labels.push(Vec::new());
                    self.value(I32, depth)?;
                    self.to.br_if(0);
                    for ty in self.results {
                        self.value(*ty, depth)?;
                    }
                    self.to.return_();
                    self.labels.pop();
                    self.to.end();
                }
                2 => {
                    self.value(I32, depth)?;
                    self.to.if_(BlockType::Empty).unreachable().end();
                }
                _ => {
                    let ty = if self.pick(1)? == 0 { I32 } else { I64 };
                    self.value(ty, depth)?;
                    self.to.drop();
                }
            },
            14 => {
                self.address(depth)?;
                self.value(I32, depth)?;
                self.to.i32_const(self.u.int_in_range(0..=200)?);
                if self.pick(1)? == 0 {
                    self.to.memory_fill(0);
                } else {
                    self.to.memory_copy(0, 0);
                }
            }
            _ => {
                let local = self.local(I32)?;
                self.value(I32, depth)?;
                self.to.local_tee(local).drop();
            }
        }
        Ok(())
    }

    fn store(&mut self, depth: u32) -> Result<()> {
        let ty = if self.pick(1)? == 0 { I32 } else { I64 };
        self.address(depth)?;
        self.value(ty, depth)?;
        let place = self.place()?;
        let op = self.pick(3)?;
        let to = &mut self.to;
        match (ty, op) {
            (I64, 0) => to.i64_store8(place),
            (I64, 1) => to.i64_store16(place),
            (I64, 2) => to.i64_store32(place),
            (I64, _) => to.i64_store(place),
            (_, 0) => to.i32_store8(place),
            (_, 1) => to.i32_store16(place),
            (_, _) => to.i32_store(place),
        };
        Ok(())
    }

    /// A loop that ends, unless something in it branches to it.
    fn rounds(&mut self, depth: u32) -> Result<()> {
        let counter = self.locals.len() as u32 - COUNTERS + self.loops;
        let rounds = self.u.int_in_range(0..=9)?;
        self.to.i32_const(rounds).local_set(counter);
        self.to.block(BlockType::Empty).loop_(BlockType::Empty);
        self.labels.push(Vec::new());
        self.labels.push(Vec::new());
        self.loops += 1;
        self.to.local_get(counter).i32_eqz().br_if(1);
        self.to
            .local_get(counter)
            .i32_const(1)
            .i32_sub()
            .local_set(counter);
        self.statements(depth + 1)?;
        self.to.br(0);
        self.loops -= 1;
        self.labels.truncate(self.labels.len() - 2);
        self.to.end().end();
        Ok(())
    }

    fn table(&mut self, depth: u32) -> Result<()> {
        self.to.block(BlockType::Empty);
        self.labels.push(Vec::new());
        self.to.block(BlockType::Empty);
        self.labels.push(Vec::new());
        self.value(I32, depth)?;
        let mut targets = Vec::new();
        for _ in 0..self.u.int_in_range(0..=6)? {
            targets.extend(self.label()?);
        }
        let default = self.label()?.unwrap_or(0);
        self.to.br_table(targets, default);
        self.labels.pop();
        self.to.end();
        self.statements(depth + 1)?;
        self.labels.pop();
        self.to.end();
        Ok(())
    }
}
