// SPDX-License-Identifier: GPL-2.0-only
//! Converts the suite's values, and compares results with expectations.

use wast::core::{NanPattern, WastArgCore, WastRetCore};
use wast::{WastArg, WastRet};

const F32_QUIET: u32 = 0x7fc0_0000;
const F64_QUIET: u64 = 0x7ff8_0000_0000_0000;

/// An argument's bits. `None` if the interface cannot pass it.
pub(super) fn argument(argument: &WastArg<'_>) -> Option<u64> {
    let WastArg::Core(argument) = argument else {
        return None;
    };
    Some(match argument {
        WastArgCore::I32(value) => u64::from(*value as u32),
        WastArgCore::I64(value) => *value as u64,
        WastArgCore::F32(value) => u64::from(value.bits),
        WastArgCore::F64(value) => value.bits,
        WastArgCore::RefNull(_) => 0,
        // 0 is null.
        WastArgCore::RefExtern(value) => u64::from(*value) + 1,
        _ => return None,
    })
}

/// Whether `bits` is the expected value.
pub(super) fn is(bits: u64, expected: &WastRet<'_>) -> bool {
    let WastRet::Core(expected) = expected else {
        return false;
    };
    match expected {
        WastRetCore::I32(value) => bits == u64::from(*value as u32),
        WastRetCore::I64(value) => bits == *value as u64,
        WastRetCore::F32(NanPattern::Value(value)) => bits == u64::from(value.bits),
        // The sign does not matter.
        WastRetCore::F32(NanPattern::CanonicalNan) => bits & !(1 << 31) == u64::from(F32_QUIET),
        WastRetCore::F32(NanPattern::ArithmeticNan) => {
            bits >> 32 == 0 && bits as u32 & F32_QUIET == F32_QUIET
        }
        WastRetCore::F64(NanPattern::Value(value)) => bits == value.bits,
        WastRetCore::F64(NanPattern::CanonicalNan) => bits & !(1 << 63) == F64_QUIET,
        WastRetCore::F64(NanPattern::ArithmeticNan) => bits & F64_QUIET == F64_QUIET,
        WastRetCore::RefNull(_) => bits == 0,
        WastRetCore::RefExtern(Some(value)) => bits == u64::from(*value) + 1,
        WastRetCore::RefExtern(None) | WastRetCore::RefFunc(None) => bits != 0,
        _ => false,
    }
}
