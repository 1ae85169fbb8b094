// SPDX-License-Identifier: GPL-2.0-only
//! Compiles into one eBPF program: an exported function, and all functions that it may call.

use alloc::vec::Vec;

use super::frame::STACK;
use super::function;
use super::program::Program;
use crate::module::Module;
use crate::pointers::InPlace;
use crate::{front, Code, Environment, Unsupported, Work};

/// Compiles the exported function and all functions that it may call, directly or through others.
pub(crate) fn compile(
    module: &Module<'_>,
    export: &str,
    environment: &Environment<'_>,
    in_place: Option<&InPlace>,
    work: &Work<'_>,
) -> Result<Code, Unsupported> {
    let root = module.exported(export).ok_or(Unsupported::Malformed)?;
    if root < module.imports {
        return Err(Unsupported::Operator("an imported function as an export"));
    }
    let mut program = Program::new(module, root, environment, in_place, work)?;
    let finish = program.begin(root);
    let mut returns = Vec::new();
    // One function after the other is built in this memory.
    let mut memory = front::Memory::default();
    for index in program.calls.functions.clone() {
        let is_root = index == root && !program.calls.root_is_called;
        let parameters = if is_root { environment.parameters } else { &[] };
        front::build_in(
            &mut memory,
            module,
            index,
            environment,
            parameters,
            in_place,
            work,
        )?;
        let built = &mut memory.function;
        program.calls_host |= built.calls_host;
        // If the stack overflows, no fuel has been charged, but what is left has to be stored.
        program.charges_once =
            program.is_alone() && !program.may_overflow() && built.charges_once();
        program.reads_below = program.reads_below.max(built.reads_below);
        program.guard = program.guard.max(built.guard);
        if index == root {
            program.reads_parameters = built.reads_parameters;
            program.reads_in_place = built.in_place;
        }
        if index == root && !program.charges_once {
            program.load_fuel();
        }
        let (entry, back) = (program.entry(index), program.asm.label());
        program.asm.bind(entry);
        let taken = environment.frame_slots(index);
        match function::emit(&mut program, built, taken, back, true) {
            Err(Unsupported::Frame) => {
                // Nothing was emitted.
                front::build_in(
                    &mut memory,
                    module,
                    index,
                    environment,
                    parameters,
                    in_place,
                    work,
                )?;
                function::emit(&mut program, &mut memory.function, taken, back, false)?;
            }
            emitted => emitted?,
        }
        returns.push((index, back));
        if index == root {
            // The first function's return falls through to it.
            program.finish(finish);
        }
        program.check_size()?;
    }
    program.give_back(root, finish, &returns)?;
    program.end();
    let stack = if program.is_alone() { 0 } else { STACK };
    if program.is_alone() {
        program.asm.prefer_free_registers();
    }
    let assembled = program.asm.finish(work)?;
    Ok(Code {
        slots: program.calls.slots,
        stack,
        calls_host: program.calls_host,
        reads_below: program.reads_below,
        guard: program.guard,
        reads_parameters: program.reads_parameters,
        in_place: program.reads_in_place,
        insns: assembled.insns,
        calls: assembled.calls,
        has_long_jumps: assembled.has_long_jumps,
    })
}
