// SPDX-License-Identifier: GPL-2.0-only
//! The translation of each Wasm operator.

use nf_wasm_shared::abi::trap::Trap;
use wasmparser::{MemArg, Operator};

use super::{Builder, Result};
use crate::ir::Binary::{Add, And, Mul, Or, RotL, RotR, Shl, ShrS, ShrU, Sub, Xor};
use crate::ir::Condition::{Eq, GeS, GeU, GtS, GtU, LeS, LeU, LtS, LtU, Ne};
use crate::ir::Divide::{DivS, DivU, RemS, RemU};
use crate::ir::Unary::{Clz, Ctz, Extend16, Extend32, Extend8, Popcnt, Wrap};
use crate::ir::Width::{W32, W64};
use crate::ir::{Access, Callee, Compare, Divide, Op, Value, Width};
use crate::Unsupported;

/// Maximum arguments of a host function, besides the machine.
const MAX_ARGUMENTS: usize = 3;

/// The fuel of an operator. It is paid when the function, loop or branch of an `if` around it is
/// entered. wasmi's patch has the same costs.
fn fuel(operator: &Operator<'_>) -> u32 {
    match operator {
        Operator::Nop
        | Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::Else
        | Operator::End
        | Operator::Drop => 0,
        Operator::Call { .. } => 6,
        Operator::CallIndirect { .. } => 8,
        Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } => 4,
        Operator::MemoryGrow { .. } => 8,
        _ => 1,
    }
}

impl Builder<'_, '_> {
    pub(super) fn operator(&mut self, operator: &Operator<'_>) -> Result<()> {
        self.pay(fuel(operator));
        match operator {
            Operator::Nop => {}
            Operator::Unreachable => self.trap(Trap::Unreachable),

            Operator::Block { blockty } => self.block(*blockty),
            Operator::Loop { blockty } => self.begin_loop(*blockty),
            Operator::If { blockty } => self.begin_if(*blockty),
            Operator::Else => self.begin_else(),
            Operator::End => {
                self.end();
            }
            Operator::Br { relative_depth } => self.branch(*relative_depth),
            Operator::BrIf { relative_depth } => self.branch_if(*relative_depth),
            Operator::BrTable { targets } => self.branch_table(targets)?,
            Operator::Return => self.give_back(),
            Operator::Call { function_index } => self.call(*function_index)?,
            Operator::CallIndirect {
                table_index: 1.., ..
            } => return Err(Unsupported::Operator("several tables")),
            Operator::CallIndirect { type_index, .. } => self.call_indirect(*type_index),

            Operator::Drop => {
                self.pop();
            }
            Operator::Select => self.select(),
            Operator::TypedSelect { ty } => match ty {
                wasmparser::ValType::I32 | wasmparser::ValType::I64 => self.select(),
                _ => return Err(Unsupported::Operator("a select of another type")),
            },

            Operator::LocalGet { local_index } => self.local_get(*local_index),
            Operator::LocalSet { local_index } => self.set_local(*local_index),
            Operator::LocalTee { local_index } => {
                self.set_local(*local_index);
                self.push(Value::Var(*local_index));
            }
            Operator::GlobalGet { global_index } => {
                let global = *global_index;
                self.push_result(|to| Op::GlobalGet { to, global });
            }
            Operator::GlobalSet { global_index } => {
                let from = self.pop();
                self.known.effect();
                self.emit(Op::GlobalSet {
                    global: *global_index,
                    from,
                });
            }

            Operator::I32Const { value } => self.push(Value::Const(i64::from(*value as u32))),
            Operator::I64Const { value } => self.push(Value::Const(*value)),

            Operator::I32Load { memarg } => self.load(memarg, 4, None),
            Operator::I32Load8U { memarg } => self.load(memarg, 1, None),
            Operator::I32Load8S { memarg } => self.load(memarg, 1, Some(W32)),
            Operator::I32Load16U { memarg } => self.load(memarg, 2, None),
            Operator::I32Load16S { memarg } => self.load(memarg, 2, Some(W32)),
            Operator::I64Load { memarg } => self.load(memarg, 8, None),
            Operator::I64Load8U { memarg } => self.load(memarg, 1, None),
            Operator::I64Load8S { memarg } => self.load(memarg, 1, Some(W64)),
            Operator::I64Load16U { memarg } => self.load(memarg, 2, None),
            Operator::I64Load16S { memarg } => self.load(memarg, 2, Some(W64)),
            Operator::I64Load32U { memarg } => self.load(memarg, 4, None),
            Operator::I64Load32S { memarg } => self.load(memarg, 4, Some(W64)),
            Operator::I32Store8 { memarg } | Operator::I64Store8 { memarg } => {
                self.store(memarg, 1);
            }
            Operator::I32Store16 { memarg } | Operator::I64Store16 { memarg } => {
                self.store(memarg, 2);
            }
            Operator::I32Store { memarg } | Operator::I64Store32 { memarg } => {
                self.store(memarg, 4);
            }
            Operator::I64Store { memarg } => self.store(memarg, 8),
            Operator::MemorySize { .. } => self.push(Value::Const(self.pages())),
            Operator::MemoryGrow { .. } if self.memory_grows => {
                return Err(Unsupported::Operator("memory that grows"));
            }
            Operator::MemoryGrow { .. } => self.grow(),
            Operator::MemoryCopy { .. } => {
                self.reads(u64::MAX);
                self.host(Callee::MemoryCopy, 3, false);
            }
            Operator::MemoryFill { .. } => self.host(Callee::MemoryFill, 3, false),

            Operator::I32Eqz => self.is_zero(W32),
            Operator::I32Eq => self.compare(Eq, W32),
            Operator::I32Ne => self.compare(Ne, W32),
            Operator::I32LtS => self.compare(LtS, W32),
            Operator::I32LtU => self.compare(LtU, W32),
            Operator::I32GtS => self.compare(GtS, W32),
            Operator::I32GtU => self.compare(GtU, W32),
            Operator::I32LeS => self.compare(LeS, W32),
            Operator::I32LeU => self.compare(LeU, W32),
            Operator::I32GeS => self.compare(GeS, W32),
            Operator::I32GeU => self.compare(GeU, W32),
            Operator::I64Eqz => self.is_zero(W64),
            Operator::I64Eq => self.compare(Eq, W64),
            Operator::I64Ne => self.compare(Ne, W64),
            Operator::I64LtS => self.compare(LtS, W64),
            Operator::I64LtU => self.compare(LtU, W64),
            Operator::I64GtS => self.compare(GtS, W64),
            Operator::I64GtU => self.compare(GtU, W64),
            Operator::I64LeS => self.compare(LeS, W64),
            Operator::I64LeU => self.compare(LeU, W64),
            Operator::I64GeS => self.compare(GeS, W64),
            Operator::I64GeU => self.compare(GeU, W64),

            Operator::I32Clz => self.unary(Clz, W32),
            Operator::I32Ctz => self.unary(Ctz, W32),
            Operator::I32Popcnt => self.unary(Popcnt, W32),
            Operator::I32Extend8S => self.unary(Extend8, W32),
            Operator::I32Extend16S => self.unary(Extend16, W32),
            Operator::I32WrapI64 => self.unary(Wrap, W32),
            Operator::I64Clz => self.unary(Clz, W64),
            Operator::I64Ctz => self.unary(Ctz, W64),
            Operator::I64Popcnt => self.unary(Popcnt, W64),
            Operator::I64Extend8S => self.unary(Extend8, W64),
            Operator::I64Extend16S => self.unary(Extend16, W64),
            Operator::I64Extend32S | Operator::I64ExtendI32S => self.unary(Extend32, W64),
            // An i32 is zero-extended.
            Operator::I64ExtendI32U => {}

            Operator::I32Add => self.binary(Add, W32),
            Operator::I32Sub => self.binary(Sub, W32),
            Operator::I32Mul => self.binary(Mul, W32),
            Operator::I32DivS => self.divide(DivS, W32),
            Operator::I32DivU => self.divide(DivU, W32),
            Operator::I32RemS => self.divide(RemS, W32),
            Operator::I32RemU => self.divide(RemU, W32),
            Operator::I32And => self.binary(And, W32),
            Operator::I32Or => self.binary(Or, W32),
            Operator::I32Xor => self.binary(Xor, W32),
            Operator::I32Shl => self.binary(Shl, W32),
            Operator::I32ShrS => self.binary(ShrS, W32),
            Operator::I32ShrU => self.binary(ShrU, W32),
            Operator::I32Rotl => self.binary(RotL, W32),
            Operator::I32Rotr => self.binary(RotR, W32),
            Operator::I64Add => self.binary(Add, W64),
            Operator::I64Sub => self.binary(Sub, W64),
            Operator::I64Mul => self.binary(Mul, W64),
            Operator::I64DivS => self.divide(DivS, W64),
            Operator::I64DivU => self.divide(DivU, W64),
            Operator::I64RemS => self.divide(RemS, W64),
            Operator::I64RemU => self.divide(RemU, W64),
            Operator::I64And => self.binary(And, W64),
            Operator::I64Or => self.binary(Or, W64),
            Operator::I64Xor => self.binary(Xor, W64),
            Operator::I64Shl => self.binary(Shl, W64),
            Operator::I64ShrS => self.binary(ShrS, W64),
            Operator::I64ShrU => self.binary(ShrU, W64),
            Operator::I64Rotl => self.binary(RotL, W64),
            Operator::I64Rotr => self.binary(RotR, W64),

            Operator::MemoryInit { .. } | Operator::DataDrop { .. } => {
                return Err(Unsupported::Operator("passive data segments"));
            }
            Operator::TableGet { .. }
            | Operator::TableSet { .. }
            | Operator::TableGrow { .. }
            | Operator::TableSize { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::ElemDrop { .. } => {
                return Err(Unsupported::Operator("operations on tables"));
            }
            Operator::RefNull { .. } | Operator::RefIsNull | Operator::RefFunc { .. } => {
                return Err(Unsupported::Operator("references"));
            }
            // These are the only other operators that validation accepts.
            _ => return Err(Unsupported::Operator("floats")),
        }
        Ok(())
    }

    fn load(&mut self, memarg: &MemArg, bytes: u8, signed: Option<Width>) {
        let base = self.pop();
        let place = self.place(base, memarg.offset, bytes.into());
        self.reads(match base {
            Value::Const(base) => base as u64 + memarg.offset + u64::from(bytes),
            Value::Var(_) => u64::MAX,
        });
        self.push_result(|to| Op::Load {
            to,
            access: Access { bytes, signed },
            place,
        });
    }

    /// Records a read from linear memory that ends at `end`.
    fn reads(&mut self, end: u64) {
        self.function.reads_below = self.function.reads_below.max(end);
    }

    fn store(&mut self, memarg: &MemArg, bytes: u8) {
        let (from, base) = (self.pop(), self.pop());
        let place = self.place(base, memarg.offset, bytes.into());
        self.known.effect();
        self.emit(Op::Store { from, bytes, place });
    }

    fn pages(&self) -> i64 {
        (self.memory_bytes >> 16) as i64
    }

    /// Memory does not grow while packets are decided. Growing by 0 pages succeeds.
    fn grow(&mut self) {
        let (by, pages) = (self.pop(), self.pages());
        let compare = Compare {
            condition: Eq,
            width: W32,
            a: by,
            b: Value::Const(0),
        };
        self.push_result(|to| Op::Select {
            to,
            compare,
            a: Value::Const(pages),
            b: Value::Const(0xffff_ffff),
        });
    }

    fn is_zero(&mut self, width: Width) {
        if width == W32 {
            // Invert the comparison that computed the operand.
            if let (Some(Op::Compare { to, compare }), Some(top)) = (
                self.function.blocks[self.current as usize].ops.last_mut(),
                self.stack.last(),
            ) {
                if *top == Value::Var(*to) && *to >= self.function.locals {
                    compare.condition = compare.condition.inverted();
                    return;
                }
            }
        }
        let a = self.pop();
        if let Some(compare) = self.difference(a) {
            return self.push_compare(Compare {
                condition: compare.condition.inverted(),
                ..compare
            });
        }
        self.push_compare(Compare {
            condition: Eq,
            width,
            a,
            b: Value::Const(0),
        });
    }

    fn select(&mut self) {
        let compare = self.pop_condition();
        let (b, a) = (self.pop(), self.pop());
        self.push_result(|to| Op::Select { to, compare, a, b });
    }

    fn divide(&mut self, op: Divide, width: Width) {
        let (b, a) = (self.pop(), self.pop());
        self.known.effect();
        self.push_result(|to| Op::Divide {
            op,
            width,
            to,
            a,
            b,
        });
    }

    /// Pops values from the stack, for the list of an operation.
    fn pop_list(&mut self, count: usize) -> (u32, u32) {
        let values = self.stack.split_off(self.stack.len() - count);
        self.keep(&values)
    }

    fn call(&mut self, function: u32) -> Result<()> {
        let ty = self.module.type_of(function);
        let (params, results) = (ty.params().len(), ty.results().len());
        if function < self.module.imports {
            let Some(host) = self.imports.get(function as usize) else {
                return Err(Unsupported::Operator("an import that is not the host's"));
            };
            if params > MAX_ARGUMENTS {
                return Err(Unsupported::Operator(
                    "an import of more than three parameters",
                ));
            }
            if host.may_trap {
                self.reads(u64::MAX);
            }
            self.function.calls_host = true;
            self.host(Callee::Import(function), params, results == 1);
            return Ok(());
        }
        let arguments = self.pop_list(params);
        let (to, results) = self.results_of_call(results);
        self.emit(Op::Call {
            function,
            arguments,
            to,
            results,
        });
        Ok(())
    }

    fn call_indirect(&mut self, signature: u32) {
        let ty = &self.module.types[signature as usize];
        let (params, results) = (ty.params().len(), ty.results().len());
        let index = self.pop();
        let arguments = self.pop_list(params);
        let (to, results) = self.results_of_call(results);
        self.emit(Op::CallIndirect {
            signature,
            index,
            arguments,
            to,
            results,
        });
    }

    fn results_of_call(&mut self, results: usize) -> (u32, u32) {
        self.known.effect();
        let to = self.function.vars;
        let vars = self.new_vars(results);
        self.stack.extend(vars.iter().map(|var| Value::Var(*var)));
        (to, results as u32)
    }

    fn host(&mut self, callee: Callee, params: usize, has_result: bool) {
        let arguments = self.pop_list(params);
        self.known.effect();
        let to = has_result.then(|| self.new_var());
        self.emit(Op::Host {
            callee,
            arguments,
            to,
        });
        self.stack.extend(to.map(Value::Var));
    }
}
