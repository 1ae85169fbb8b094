// SPDX-License-Identifier: GPL-2.0-only
//! The WebAssembly specification's tests on the engine in this process, as
//! `nf-wasm-spectest --engine` runs them.

use nf_wasm_engine::guest_test::Session;
use nf_wasm_tests::spec;

#[test]
fn the_specification_holds() {
    let report = spec::run("", Session::new);
    println!("{}", report.summary());
    assert_eq!(report.failures, [""; 0]);
    assert_eq!(report.differences(""), [""; 0], "tests/spec/rejected.txt");
}
