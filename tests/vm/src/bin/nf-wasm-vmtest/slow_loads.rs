// SPDX-License-Identifier: GPL-2.0-only
//! A killed caller ends a slow load.

use std::fs;
use std::process::{Command, Stdio};

use nf_wasm_hostile::megabyte;
use nf_wasm_tests::eventually;
use nf_wasm_tests::kernel::Tracepoint;
use nf_wasm_tests::net::Net;

crate::tests![a_killed_caller_ends_the_compilation];

/// How many times the load may finish before the kill takes effect.
const ATTEMPTS: usize = 20;

fn a_killed_caller_ends_the_compilation() {
    let net = Net::pair();
    let file = "/tmp/megabyte.wasm";
    let mut cases = megabyte::CASES.iter();
    let case = cases.find(|case| case.name == "a megabyte of select");
    fs::write(file, (case.expect("the case").module)()).expect("write");
    let stages = |tracepoint: &Tracepoint| -> Vec<String> {
        let lines = tracepoint.lines().into_iter();
        let stages = lines.filter_map(|it| Some(it.split_once("stage=")?.1.to_owned()));
        stages.collect()
    };
    let caught = (0..ATTEMPTS).any(|_| {
        let tracepoint = Tracepoint::on("nf_wasm/nf_wasm_build");
        let mut loader = net.server.enter(|| {
            Command::new("nfwasm")
                .args(["load", file, "--name", "megabyte"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("nfwasm")
        });
        eventually("the stage compile begins", || {
            stages(&tracepoint)
                .contains(&"compile".to_owned())
                .then_some(())
        });
        loader.kill().expect("kill");
        loader.wait().expect("wait");
        // The stage after `compile` must not have begun. The caller has waited for the build
        // thread, so no further stage follows.
        let is_caught = stages(&tracepoint).last().is_some_and(|it| it == "compile");
        let filters = net.server.filters();
        assert!(!is_caught || filters.is_empty(), "{filters:?}");
        is_caught
    });
    fs::remove_file(file).expect("remove");
    assert!(caught, "every compilation ran to its end");
}
