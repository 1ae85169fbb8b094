// SPDX-License-Identifier: GPL-2.0-only
//! A load's memory and time are charged to the caller's cgroup.

use std::fs;
use std::process::{Command, Output, Stdio};

use nf_wasm_shared::abi::ioctl::FilterEntry;
use nf_wasm_tests::cgroup::Cgroup;
use nf_wasm_tests::cpu::Offline;
use nf_wasm_tests::device::{text, Device};
use nf_wasm_tests::{eventually, wasm};

crate::tests![
    memory_is_the_callers,
    memory_for_a_cpu_that_comes_is_nobodys,
    a_load_over_the_limit_fails_alone,
    time_is_the_callers,
];

const FILE: &str = "/tmp/payer.wasm";

/// Writes a filter with a linear memory of so many pages.
fn with_pages(pages: u32) {
    let wasm = wasm::wat(&format!(
        r#"(module (memory (export "memory") {pages})
             (func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1)))"#
    ));
    fs::write(FILE, wasm).expect(FILE);
}

fn load(cgroup: &Cgroup, name: &str) -> Output {
    let mut nfwasm = cgroup.command("nfwasm");
    let nfwasm = nfwasm.args(["load", FILE, "--name", name]);
    nfwasm.output().expect("nfwasm")
}

fn unload(name: &str) {
    let mut nfwasm = Command::new("nfwasm");
    let status = nfwasm.args(["unload", name]).status();
    assert!(status.expect("nfwasm").success());
}

fn entry(name: &str) -> Option<FilterEntry> {
    let filters = Device::open().filters().expect("list");
    filters.into_iter().find(|it| text(&it.name) == name)
}

/// Bytes of a filter's kernel memory, as listed.
fn memory(entry: &FilterEntry) -> u64 {
    entry.memory_per_cpu * u64::from(entry.instances) + entry.memory_shared
}

/// Bytes of kernel memory charged to the cgroup.
fn charged(cgroup: &Cgroup) -> u64 {
    cgroup.number("memory.stat", "kernel")
}

/// The charge is the listed memory and a little more: page tables, the kernel's own structs, and
/// rounding by the allocators.
fn assert_about(charged: u64, listed: u64) {
    let most = listed + listed / 4 + (1 << 20);
    println!("{charged} bytes charged, {listed} listed");
    assert!((listed..most).contains(&charged));
}

fn memory_is_the_callers() {
    let cgroup = Cgroup::new("payer");
    with_pages(16);
    let output = load(&cgroup, "heavy");
    assert!(output.status.success(), "{output:?}");
    let entry = entry("heavy").expect("the filter is listed");
    let listed = memory(&entry);
    assert!(listed >= 2 * 16 * 65_536, "{listed}");
    // The charge of the loader itself ends with its process.
    let least = eventually("the loader is gone", || {
        let charged = charged(&cgroup);
        (charged < listed + listed / 4 + (1 << 20)).then_some(charged)
    });
    assert_about(least, listed);
    unload("heavy");
    eventually("the whole charge ends", || {
        (charged(&cgroup) < listed / 4).then_some(())
    });
}

fn memory_for_a_cpu_that_comes_is_nobodys() {
    let cgroup = Cgroup::new("payer");
    with_pages(16);
    let offline = Offline::take(1);
    let output = load(&cgroup, "heavy");
    assert!(output.status.success(), "{output:?}");
    let of_one = memory(&entry("heavy").expect("the filter is listed"));
    eventually("the loader is gone", || {
        (charged(&cgroup) < of_one + of_one / 2).then_some(())
    });
    offline.bring_back();
    assert_eq!(entry("heavy").expect("the filter is listed").instances, 2);
    assert_about(charged(&cgroup), of_one);
    unload("heavy");
}

fn a_load_over_the_limit_fails_alone() {
    let cgroup = Cgroup::new("payer");
    with_pages(40);
    // One CPU's linear memory takes 2.6 megabytes, and the loader needs memory too.
    cgroup.set("memory.max", &(5 << 20).to_string());
    let output = load(&cgroup, "too-heavy");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(stderr.contains("memory"), "{output:?}");
    assert!(stderr.contains("[ENOMEM]"), "{output:?}");
    assert_eq!(cgroup.number("memory.events", "oom_kill"), 0);
    assert!(entry("too-heavy").is_none());
    // With a higher limit, the load succeeds.
    cgroup.set("memory.max", "max");
    let output = load(&cgroup, "too-heavy");
    assert!(output.status.success(), "{output:?}");
    unload("too-heavy");
}

fn time_is_the_callers() {
    let cgroup = Cgroup::new("payer");
    let wasm = wasm::filter(
        r#"(func (export "nfw_init") (result i32) (local $i i32)
             (loop $again
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $i) (i32.const 2000000))))
             (i32.const 0))"#,
        "(i32.const 1)",
    );
    fs::write(FILE, wasm).expect(FILE);
    let mut nfwasm = cgroup.command("nfwasm");
    nfwasm.args(["load", FILE, "--name", "slow", "--tier", "interp"]);
    let mut nfwasm = nfwasm.stdout(Stdio::null()).spawn().expect("nfwasm");
    eventually("the build thread is in the cgroup", || {
        cgroup.has_thread("nf_wasm_load").then_some(())
    });
    assert!(nfwasm.wait().expect("nfwasm").success());
    unload("slow");
}
