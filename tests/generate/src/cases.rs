// SPDX-License-Identifier: GPL-2.0-only
//! Selects the cases that a test runs, from the environment.

use std::env;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Calls `case` with a seed and each index, as `NF_WASM_SEED`, `NF_WASM_FROM` and `NF_WASM_CASES`
/// say. Without them, runs the first 300 cases of seed 1. Returns the number of cases.
///
/// # Panics
///
/// If a case panics. The message says how to run that case alone.
pub fn each(mut case: impl FnMut(u64, u64)) -> u64 {
    let number = |name: &str, default| {
        env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let seed = number("NF_WASM_SEED", 1);
    let (from, cases) = (number("NF_WASM_FROM", 0), number("NF_WASM_CASES", 300));
    for at in from..from + cases {
        let done = catch_unwind(AssertUnwindSafe(|| case(seed, at)));
        assert!(
            done.is_ok(),
            "NF_WASM_SEED={seed} NF_WASM_FROM={at} NF_WASM_CASES=1"
        );
    }
    cases
}
