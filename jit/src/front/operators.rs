// SPDX-License-Identifier: GPL-2.0-only
//! The translation of each Wasm operator.

use nf_wasm_shared::abi::trap::Trap;

use super::{Builder, Result};
use crate::ir::Condition::Eq;
use crate::ir::Width::W32;
use crate::ir::{Access, Callee, Compare, Divide, Op, Value, Width};
use crate::reader::Operator;
use crate::Unsupported;

/// Maximum arguments of a host function, besides the machine.
const MAX_ARGUMENTS: usize = 3;

impl Builder<'_, '_> {
    /// Inlined into its only caller: it is called for each operator.
    #[inline(always)]
    pub(super) fn operator(&mut self, operator: Operator<'_>) -> Result<()> {
        match operator {
            Operator::Nop => {}
            Operator::Unreachable => self.trap(Trap::Unreachable),

            Operator::Block(ty) => self.block(ty),
            Operator::Loop(ty) => self.begin_loop(ty),
            Operator::If(ty) => self.begin_if(ty),
            Operator::Else => self.begin_else(),
            Operator::End => {
                self.end();
            }
            Operator::Branch(depth) => self.branch(depth),
            Operator::BranchIf(depth) => self.branch_if(depth),
            Operator::BranchTable(targets) => self.branch_table(&targets)?,
            Operator::Return => self.give_back(),
            Operator::Call(function) => self.call(function)?,
            Operator::CallIndirect { table: 1.., .. } => {
                return Err(Unsupported::Operator("several tables"));
            }
            Operator::CallIndirect { ty, .. } => self.call_indirect(ty),

            Operator::Drop => {
                self.pop();
            }
            Operator::Select | Operator::TypedSelect(true) => self.select(),
            Operator::TypedSelect(false) => {
                return Err(Unsupported::Operator("a select of another type"));
            }

            Operator::LocalGet(local) => self.local_get(local),
            Operator::LocalSet(local) => self.set_local(local),
            Operator::LocalTee(local) => {
                self.set_local(local);
                self.push(Value::Var(local));
            }
            Operator::GlobalGet(global) => self.push_result(|to| Op::GlobalGet { to, global }),
            Operator::GlobalSet(global) => {
                let from = self.pop();
                self.known.effect();
                self.emit(Op::GlobalSet { global, from });
            }

            Operator::I32Const(value) => self.push(Value::Const(value.into())),
            Operator::I64Const(value) => self.push(Value::Const(value)),

            Operator::Load(access, offset) => self.load(access, offset.into()),
            Operator::Store(bytes, offset) => self.store(bytes, offset.into()),
            Operator::MemorySize => self.push(Value::Const(self.pages())),
            Operator::MemoryGrow if self.memory_grows => {
                return Err(Unsupported::Operator("memory that grows"));
            }
            Operator::MemoryGrow => self.grow(),
            Operator::MemoryCopy => {
                self.reads(u64::MAX);
                self.host(Callee::MemoryCopy, 3, false);
            }
            Operator::MemoryFill => self.host(Callee::MemoryFill, 3, false),

            Operator::IsZero(width) => self.is_zero(width),
            Operator::Compare(condition, width) => self.compare(condition, width),
            Operator::Unary(op, width) => self.unary(op, width),
            Operator::Binary(op, width) => self.binary(op, width),
            Operator::Divide(op, width) => self.divide(op, width),
            // An i32 is zero-extended.
            Operator::Extend => {}

            Operator::Other(what)
            | Operator::OtherWithNumbers(what, _)
            | Operator::OtherWithBytes(what, _) => return Err(Unsupported::Operator(what)),
            // The reader does not return it.
            Operator::Prefix => return Err(Unsupported::Malformed),
        }
        Ok(())
    }

    fn load(&mut self, access: Access, offset: u64) {
        let base = self.pop();
        let bytes = access.bytes.into();
        let place = self.place(base, offset, bytes);
        self.reads(match base {
            Value::Const(base) => base as u64 + offset + bytes,
            Value::Var(_) => u64::MAX,
        });
        self.push_result(|to| Op::Load { to, access, place });
    }

    /// Records a read from linear memory that ends at `end`.
    fn reads(&mut self, end: u64) {
        self.function.reads_below = self.function.reads_below.max(end);
    }

    fn store(&mut self, bytes: u8, offset: u64) {
        let (from, base) = (self.pop(), self.pop());
        let place = self.place(base, offset, bytes.into());
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
        let at = self.stack.len() - count;
        let list = self.keep(at);
        self.stack.truncate(at);
        list
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
        let (to, results) = (self.function.vars, results as u32);
        self.function.vars += results;
        self.stack.extend((to..to + results).map(Value::Var));
        (to, results)
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
