// SPDX-License-Identifier: GPL-2.0-only
//! Converts wasmi's errors and trap codes to the ABI's traps.

use nf_wasm_shared::abi::trap::Trap;
use wasmi::errors::ErrorKind;
use wasmi::{Error, TrapCode};

#[cold]
pub(crate) fn trap_of(error: &Error) -> Trap {
    match error.as_trap_code() {
        Some(trap) => trap_number(trap),
        // Some of wasmi's errors of bulk operations have no trap code.
        None => match error.kind() {
            ErrorKind::Memory(_) => Trap::MemoryOutOfBounds,
            ErrorKind::Table(_) => Trap::TableOutOfBounds,
            ErrorKind::Host(_) => Trap::Host,
            _ => Trap::Internal,
        },
    }
}

pub(crate) fn trap_number(trap: TrapCode) -> Trap {
    match trap {
        TrapCode::UnreachableCodeReached => Trap::Unreachable,
        TrapCode::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        TrapCode::TableOutOfBounds => Trap::TableOutOfBounds,
        TrapCode::IndirectCallToNull => Trap::IndirectCallToNull,
        TrapCode::IntegerDivisionByZero => Trap::IntegerDivisionByZero,
        TrapCode::IntegerOverflow => Trap::IntegerOverflow,
        TrapCode::BadConversionToInteger => Trap::BadConversionToInteger,
        TrapCode::StackOverflow => Trap::StackOverflow,
        TrapCode::BadSignature => Trap::BadSignature,
        TrapCode::OutOfFuel => Trap::OutOfFuel,
        TrapCode::GrowthOperationLimited => Trap::GrowthLimited,
    }
}
