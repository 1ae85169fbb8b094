// SPDX-License-Identifier: GPL-2.0-only
//! The front end: from Wasm to the IR, one function at a time.
//!
//! | file | |
//! |---|---|
//! | `operators.rs` | the translation of each Wasm operator |
//! | `control.rs` | blocks, loops, branches |
//! | `memory.rs` | checks of addresses |
//! | `known.rs` | facts about locals |
//! | `bounds.rs` | upper limits of values |
//! | `packet.rs` | accesses to packets in place |
//! | `swap.rs` | numbers in network byte order |
//!
//! An operand is a variable on the operand stack that is not a local. It has one user. So the
//! operator that pops an operand may change, redirect or remove the operation that wrote it:
//!
//! 1. An operand is pushed once. Variables are new when they are pushed: results of operations and
//!    calls, copies of locals, parameters of loops, results of frames. `local.get` and `local.tee`
//!    push locals or constants. No operator pushes a variable that another one has pushed.
//! 2. An operator pops its operands. No later operator can name them.
//! 3. Two events read or save a value, and leave it on the stack: a `br_if` with values, and an
//!    `if`, whose parameters are passed to both branches. Both end the block. A later reader is
//!    then in another block than the operation that wrote the value.
//!
//! So as long as the operation that wrote an operand is the last one of the current block, nothing
//! has read the operand. After an operator has popped it, nothing else will, with the exception
//! below. `add_to_sum`, `swap` (`swap.rs`), `pop_condition`, `set_local`, `is_zero`
//! (`operators.rs`), `drop_sum` (`memory.rs`) and `without_sum` (`packet.rs`) rely on that, and
//! only look at the last operation. So does `difference`, which looks at the last comparison.
//! [`Builder::assert_one_user`] checks it.
//!
//! The exception: checks and addresses may read a popped operand again, as the base that another
//! access was checked by, or as a part of a sum (`known.rs`). The operation that wrote it is not
//! the last one then, and was not redirected: it was read as a base or a summand, not by
//! `set_local`.

mod bounds;
mod control;

mod known;
mod memory;
mod operators;
mod packet;
mod swap;

use alloc::vec::Vec;
use core::mem;

use wasmparser::{BinaryReaderError, FunctionBody};

use crate::ir::{
    cut, fold_binary, fold_compare, fold_unary, Binary, BlockId, Compare, Condition, Function, Op,
    Unary, Value, Var, Width,
};
use crate::module::Module;
use crate::pointers::{Bits, InPlace};
use crate::reader::{Operator, Operators};
use crate::{Environment, HostFunction, Unsupported, Work};
use control::Frame;
use known::Known;

type Result<T> = core::result::Result<T, Unsupported>;

/// Maximum number of values on top of the operand stack that may be locals. Values below are
/// copied, so that the search for a local does not depend on the depth of the stack.
const MAX_UNSETTLED: usize = 64;
/// Slots of a frame that cost one unit of fuel.
const SLOTS_FOR_FUEL: u32 = 8;

/// Limit for the numbers of a function's operations, variables, and list values. A branch with many
/// values makes many operations from few bytes. Other functions stay far below the limit.
const MAX_SIZE: usize = 1 << 16;

/// Builds a function.
struct Builder<'m, 'a> {
    module: &'m Module<'a>,
    work: &'m Work<'m>,
    memory_bytes: u64,
    /// The upper limit for computed addresses.
    limit: u64,
    memory_grows: bool,
    imports: &'m [HostFunction],
    in_place: Option<&'m InPlace>,
    function: Function,
    /// Fuel for operators of the current region, in addition to that of its block.
    unpaid: u32,
    /// Number of operations so far.
    made: usize,
    /// Number of values that branches carried, even if there was no operation for one.
    taken_along: usize,
    /// Wasm's operand stack.
    stack: Vec<Value>,
    /// This many of its lowest values are not locals. May exceed the height of the stack.
    settled: usize,
    frames: Vec<Frame>,
    /// The block that operations are added to, if they are reachable.
    current: BlockId,
    reachable: bool,
    /// Number of nested frames that are unreachable.
    skipped: u32,
    loops: u32,
    known: Known,
    /// Parameters with a known value that nothing assigns to.
    constants: Vec<Option<u32>>,
    /// The last comparison: its block, and its index there.
    compared: Option<(BlockId, usize)>,
    /// Upper limits of variables that are not locals.
    bounds: Vec<u64>,
    /// The variables that are likely to hold an address in the window.
    pointers: Bits,
}

/// The known parameters that nothing assigns to.
fn constants(
    body: &FunctionBody<'_>,
    parameters: &[Option<u32>],
    work: &Work<'_>,
) -> Result<Vec<Option<u32>>> {
    let mut constants = parameters.to_vec();
    if !constants.is_empty() {
        for operator in Operators::of(body)? {
            work.take(1)?;
            if let Operator::LocalSet(local) | Operator::LocalTee(local) = operator? {
                if let Some(constant) = constants.get_mut(local as usize) {
                    *constant = None;
                }
            }
        }
    }
    Ok(constants)
}

/// The memory of a builder, for the next one.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) function: Function,
    stack: Vec<Value>,
    frames: Vec<Frame>,
    bounds: Vec<u64>,
}

/// As [`build_in`], in new memory.
pub(crate) fn build(
    module: &Module<'_>,
    index: u32,
    environment: &Environment<'_>,
    parameters: &[Option<u32>],
    in_place: Option<&InPlace>,
    work: &Work<'_>,
) -> Result<Function> {
    let mut memory = Memory::default();
    build_in(
        &mut memory,
        module,
        index,
        environment,
        parameters,
        in_place,
        work,
    )?;
    Ok(memory.function)
}

/// Builds the function with index `index`, which the module defines. `parameters` are the known
/// values of parameters. The function takes the place of the last one in `memory`.
pub(crate) fn build_in(
    memory: &mut Memory,
    module: &Module<'_>,
    index: u32,
    environment: &Environment<'_>,
    parameters: &[Option<u32>],
    in_place: Option<&InPlace>,
    work: &Work<'_>,
) -> Result<()> {
    let body = module.body(index).ok_or(Unsupported::Malformed)?;
    let ty = module.type_of(index);
    let params = ty.params().len() as u32;
    let mut locals = params;
    for group in body.get_locals_reader()? {
        locals += group?.0;
    }
    let mut builder = Builder {
        module,
        work,
        memory_bytes: environment.memory_bytes,
        limit: in_place.map_or(environment.memory_bytes, InPlace::limit),
        memory_grows: environment.memory_grows,
        imports: environment.imports,
        in_place,
        function: Function {
            index,
            params,
            locals,
            vars: locals,
            results: ty.results().len() as u32,
            ..mem::take(&mut memory.function).emptied()
        },
        unpaid: 0,
        made: 0,
        taken_along: 0,
        stack: mem::take(&mut memory.stack),
        settled: 0,
        frames: mem::take(&mut memory.frames),
        current: 0,
        reachable: true,
        skipped: 0,
        loops: 0,
        known: Known::default(),
        constants: constants(body, parameters, work)?,
        compared: None,
        bounds: mem::take(&mut memory.bounds),
        pointers: Bits::default(),
    };
    builder.stack.clear();
    builder.frames.clear();
    builder.bounds.clear();
    builder.enter();
    for (local, value) in (0..).zip(parameters) {
        if let (Some(value), None) = (value, builder.constants[local as usize]) {
            let from = Value::Const((*value).into());
            builder.emit(Op::Copy { to: local, from });
            builder.known.learn(local, from, u64::MAX);
        }
    }
    // The interpreter writes all slots of a new frame.
    builder.unpaid = 1 + environment.frame_slots(index) / SLOTS_FOR_FUEL;
    let mut size = builder.size();
    let mut operators = Operators::of(body)?;
    while !operators.is_over() {
        let operator = operators.read()?;
        if builder.reachable {
            builder.unpaid += operators.fuel();
            builder.operator(operator)?;
        } else {
            builder.skip(operator);
        }
        let before = mem::replace(&mut size, builder.size());
        work.take(1 + size - before)?;
        builder.check_size(size)?;
    }
    *memory = Memory {
        function: builder.function,
        stack: builder.stack,
        frames: builder.frames,
        bounds: builder.bounds,
    };
    Ok(())
}

impl Builder<'_, '_> {
    /// A measure of everything built so far. Its growth is the work of an operator.
    fn size(&self) -> usize {
        let function = &self.function;
        let lists = function.values.len() + self.taken_along;
        self.made + function.vars as usize + lists + 4 * function.blocks.len()
    }

    /// Fails if the function is too large. `size` is [`Self::size`].
    #[inline]
    fn check_size(&self, size: usize) -> Result<()> {
        let function = &self.function;
        let parts = [self.made, function.vars as usize, function.values.len()];
        // The size includes all of them.
        match size > MAX_SIZE && parts.iter().any(|part| *part > MAX_SIZE) {
            true => Err(Unsupported::Size),
            false => Ok(()),
        }
    }

    /// Skips an unreachable operator.
    fn skip(&mut self, operator: Operator<'_>) {
        match operator {
            Operator::Block(_) | Operator::Loop(_) | Operator::If(_) => {
                self.skipped += 1;
            }
            Operator::Else if self.skipped == 0 => self.begin_else(),
            Operator::End if self.skipped > 0 => self.skipped -= 1,
            Operator::End => {
                self.end();
            }
            _ => {}
        }
    }

    fn new_var(&mut self) -> Var {
        self.function.vars += 1;
        self.function.vars - 1
    }

    fn new_vars(&mut self, count: usize) -> Vec<Var> {
        (0..count).map(|_| self.new_var()).collect()
    }

    fn ops(&mut self) -> &mut Vec<Op> {
        &mut self.function.blocks[self.current as usize].ops
    }

    fn emit(&mut self, op: Op) {
        self.made += 1;
        self.ops().push(op);
    }

    /// Makes the current region pay for its operators so far. Comes before any change of the region.
    fn pay(&mut self) {
        let region = self.region() as usize;
        self.function.blocks[region].fuel += mem::take(&mut self.unpaid);
    }

    /// Stores the stack's values from `at` on as a list for an operation.
    fn keep(&mut self, at: usize) -> (u32, u32) {
        let start = self.function.values.len() as u32;
        self.function.values.extend_from_slice(&self.stack[at..]);
        (start, self.function.values.len() as u32)
    }

    fn local_get(&mut self, local: Var) {
        if let Some(Some(value)) = self.constants.get(local as usize) {
            return self.push(Value::Const((*value).into()));
        }
        if let Some(value) = self.known.constant(local) {
            return self.push(Value::Const(value));
        }
        self.function.reads_parameters |= local < self.function.params;
        self.push(Value::Var(local));
    }

    fn push(&mut self, value: Value) {
        self.settled = self.settled.min(self.stack.len());
        self.stack.push(value);
        if self.stack.len() - self.settled > MAX_UNSETTLED {
            self.settle(self.settled);
            self.settled += 1;
        }
    }

    fn pop(&mut self) -> Value {
        // The module is valid.
        self.stack.pop().unwrap_or(Value::Const(0))
    }

    /// Emits an operation, and pushes its result, a new variable.
    fn push_result(&mut self, op: impl FnOnce(Var) -> Op) {
        let to = self.new_var();
        let op = op(to);
        self.bound(to, self.max_after(&op));
        self.note_pointer(to, &op);
        self.emit(op);
        self.push(Value::Var(to));
    }

    /// Checks that a popped operand is not on the stack a second time. It only looks at as much of
    /// the stack as `local.set` does, so that a deep stack does not cost more.
    fn assert_one_user(&self, operand: Var) {
        if cfg!(debug_assertions) {
            let mut top = self.stack.iter().rev().take(MAX_UNSETTLED);
            let is_there = top.any(|value| *value == Value::Var(operand));
            assert!(!is_there, "an operand has two users");
        }
    }

    fn binary(&mut self, op: Binary, width: Width) {
        let (b, a) = (self.pop(), self.pop());
        if self.add_to_sum(op, width, a, b) {
            return self.push(a);
        }
        if let (Width::W32, Some((op, a))) = (width, self.swap(op, a, b)) {
            return self.push_result(|to| Op::Unary { op, width, to, a });
        }
        // An operand that is not larger than a mask of ones is not changed by it.
        if let (Binary::And, Value::Const(mask)) = (op, b) {
            let mask = cut(width, mask) as u64;
            if bounds::ones(mask) == mask && self.max(a) <= mask {
                return self.push(a);
            }
        }
        match fold_binary(op, width, a, b) {
            Some(value) => self.push(value),
            None => self.push_result(|to| Op::Binary {
                op,
                width,
                to,
                a,
                b,
            }),
        }
    }

    /// If the last operation computed `a` as a sum with a constant, adds `b` to that constant.
    fn add_to_sum(&mut self, op: Binary, width: Width, a: Value, b: Value) -> bool {
        let locals = self.function.locals;
        let (Binary::Add, Value::Const(more)) = (op, b) else {
            return false;
        };
        let Some(sum) = self.ops().last_mut() else {
            return false;
        };
        match sum {
            // An operand has one user.
            Op::Binary {
                op: Binary::Add,
                width: of,
                to,
                b: Value::Const(constant),
                ..
            } if *of == width && a == Value::Var(*to) && *to >= locals => {
                *constant = cut(width, constant.wrapping_add(more));
                let (to, sum) = (*to, *sum);
                self.assert_one_user(to);
                self.bound(to, self.max_after(&sum));
                self.note_pointer(to, &sum);
                true
            }
            _ => false,
        }
    }

    fn unary(&mut self, op: Unary, width: Width) {
        match self.pop() {
            Value::Const(a) => self.push(Value::Const(fold_unary(op, width, a))),
            a => self.push_result(|to| Op::Unary { op, width, to, a }),
        }
    }

    fn compare(&mut self, condition: Condition, width: Width) {
        let (b, a) = (self.pop(), self.pop());
        self.push_compare(Compare {
            condition,
            width,
            a,
            b,
        });
    }

    fn push_compare(&mut self, compare: Compare) {
        match fold_compare(&compare) {
            Some(holds) => self.push(Value::Const(holds.into())),
            None => {
                self.push_result(|to| Op::Compare { to, compare });
                let made = self.ops().len() - 1;
                self.compared = Some((self.current, made));
            }
        }
    }

    /// If an earlier operation of this block compared two values for equality, and nobody but the
    /// caller wants the result: makes it compute their difference, which a branch compares with
    /// zero.
    fn difference(&mut self, result: Value) -> Option<Compare> {
        let (block, at) = self.compared.take()?;
        let locals = self.function.locals;
        let op = self.function.blocks[block as usize].ops.get_mut(at)?;
        let Op::Compare { to, compare } = *op else {
            return None;
        };
        let is_equality = matches!(compare.condition, Condition::Eq | Condition::Ne);
        if block != self.current || result != Value::Var(to) || to < locals || !is_equality {
            return None;
        }
        *op = Op::Binary {
            op: Binary::Xor,
            width: compare.width,
            to,
            a: compare.a,
            b: compare.b,
        };
        self.assert_one_user(to);
        self.bound(to, u64::MAX);
        Some(Compare {
            a: result,
            b: Value::Const(0),
            ..compare
        })
    }

    /// Pops a condition: the comparison that computed it, or a new one with zero.
    fn pop_condition(&mut self) -> Compare {
        let (value, locals) = (self.pop(), self.function.locals);
        if let (Some(Op::Compare { to, compare }), Value::Var(var)) = (self.ops().last(), value) {
            // An operand has one user, which is this one. So nobody needs the value.
            if *to == var && var >= locals {
                let compare = *compare;
                self.ops().pop();
                self.assert_one_user(var);
                return compare;
            }
        }
        self.difference(value).unwrap_or(Compare {
            condition: Condition::Ne,
            width: Width::W32,
            a: value,
            b: Value::Const(0),
        })
    }

    fn set_local(&mut self, local: Var) {
        let value = self.pop();
        for at in self.settled.min(self.stack.len())..self.stack.len() {
            if self.stack[at] == Value::Var(local) {
                self.settle(at);
            }
        }
        if value == Value::Var(local) {
            return;
        }
        let copy = Op::Copy {
            to: local,
            from: value,
        };
        self.note_pointer(local, &copy);
        let sum = self.sum(value);
        self.known.forget(local);
        // The operation that computes an operand may be redirected to the local.
        if sum.root != value {
            self.known.learn_sum(local, sum);
        }
        let max = self.max(value);
        self.known.learn(local, value, max);
        let locals = self.function.locals;
        if let (Some(op), Value::Var(var)) = (self.ops().last_mut(), value) {
            // This is the only user.
            if var >= locals && op.target() == Some(var) {
                op.retarget(local);
                self.assert_one_user(var);
                return;
            }
        }
        self.emit(copy);
    }
}

impl From<BinaryReaderError> for Unsupported {
    fn from(_: BinaryReaderError) -> Self {
        Unsupported::Malformed
    }
}

/// The result of a comparison, if it is known.
pub(crate) fn known(compare: &Compare) -> Option<bool> {
    fold_compare(compare)
}
