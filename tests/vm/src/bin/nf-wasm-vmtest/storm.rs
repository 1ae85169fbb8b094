// SPDX-License-Identifier: GPL-2.0-only
//! Eight processes change filters under traffic. No packet is lost or decided twice.

use nf_wasm_tests::kernel;
use nf_wasm_tests::storm::{storm, Plan};

crate::tests![packets_in_are_verdicts_out];

/// A short storm. `nf-wasm-storm` runs a long one.
fn packets_in_are_verdicts_out() {
    let report = storm(&Plan {
        seconds: kernel::rounds(15, 6),
        processes: 8,
        seed: 1,
        hotplug: false,
    });
    println!("{report}");
    let done = &report.done;
    for (what, count) in [
        ("packets", report.sent),
        ("drops", done.dropped),
        ("loads", done.loads),
        ("attaches", done.attaches),
        ("replacements", done.replacements),
        ("unloads", done.unloads),
        ("namespaces", done.namespaces),
    ] {
        assert!(count > 0, "a storm without {what}");
    }
    assert_eq!(report.differences(), [0; 3]);
    assert_eq!(done.internal, 0, "a packet found no instance");
}
