// SPDX-License-Identifier: GPL-2.0-only
//! A short fuzzing run with a fixed seed. `nf-wasm-fuzz` runs longer ones.

use std::time::Duration;

use nf_wasm_tests::fuzz::{modules, requests, tiers, Campaign, Report};
use nf_wasm_tests::kernel::{self, With};

crate::tests![
    filters_do_in_the_kernel_what_they_do_outside,
    requests_that_lie_change_nothing,
    compiled_functions_do_what_interpreted_ones_do,
];

/// A campaign. On a kernel with checks it has fewer `runs`: each takes ten times as long.
fn campaign(runs: u64) -> Campaign {
    Campaign {
        seed: 1,
        from: 0,
        runs: Some(kernel::rounds(runs, runs.div_ceil(16))),
        time: Duration::ZERO,
    }
}

fn nothing_found(mut report: Report) {
    report.print();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}

fn filters_do_in_the_kernel_what_they_do_outside() {
    nothing_found(modules::run(campaign(100)));
}

fn requests_that_lie_change_nothing() {
    nothing_found(requests::run(campaign(150)));
}

fn compiled_functions_do_what_interpreted_ones_do() {
    let _inserted = With::parameters(&["guest_test=1"]);
    nothing_found(tiers::run(campaign(100)));
}
