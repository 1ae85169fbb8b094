// SPDX-License-Identifier: GPL-2.0-only
//! Selects the cases that a test runs, from the environment.

use std::env;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Hands `case` a seed and numbers, as `NF_WASM_SEED`, `NF_WASM_FROM` and `NF_WASM_CASES` say; without
/// them the first 300 of seed 1. Returns how many.
///
/// # Panics
///
/// If a case does: says how to see it alone.
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
