// SPDX-License-Identifier: GPL-2.0-only
//! Runs the WebAssembly specification's tests on the engine, either in this process or in the
//! kernel module, which must then have been inserted with `guest_test=1`.
//!
//! ```text
//! nf-wasm-spectest [--engine] [--write FILE] [PART OF A FILE'S NAME]
//! ```
//!
//! `--engine` selects this process. `--write` writes the list of rejected modules. Without it, the
//! list must be equal to the one that the program was built with.

use std::process::ExitCode;
use std::{env, fs};

use nf_wasm_engine::guest_test;
use nf_wasm_tests::guest_test::Session;
use nf_wasm_tests::spec;

/// The maximum number of differences that are shown.
const SHOWN: usize = 50;

fn main() -> ExitCode {
    let mut engine = false;
    let mut list = None;
    let mut filter = String::new();
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--engine" => engine = true,
            "--write" => list = Some(arguments.next().expect("--write FILE")),
            _ => filter = argument,
        }
    }
    let report = if engine {
        spec::run(&filter, guest_test::Session::new)
    } else {
        spec::run(&filter, Session::open)
    };
    print!("{}", report.summary());
    for failure in report.failures.iter().take(SHOWN) {
        println!("failed: {failure}");
    }
    let mut passed = report.failures.is_empty();
    if let Some(list) = list {
        fs::write(&list, report.rejected()).expect("write the list");
    } else {
        let differences = report.differences(&filter);
        for line in differences.iter().take(SHOWN) {
            println!("rejected.txt: {line}");
        }
        passed &= differences.is_empty();
    }
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
