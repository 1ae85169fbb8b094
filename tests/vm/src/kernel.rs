// SPDX-License-Identifier: GPL-2.0-only
//! Reads the kernel's log and tracepoints; inserts and removes kernel modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nf_wasm_shared::abi::limits::MAX_FUEL;

use crate::leaks::KMEMLEAK;

/// The kernel's log.
///
/// # Panics
///
/// If it cannot be read.
pub fn log() -> String {
    let output = Command::new("dmesg").output().expect("dmesg");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Its last lines.
pub fn log_tail(lines: usize) -> String {
    let log = log();
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Whether the kernel is a PREEMPT_RT one.
pub fn is_realtime() -> bool {
    Path::new("/sys/kernel/realtime").exists()
}

/// Whether this kernel checks itself so much that all takes many times longer than on others.
pub fn is_slow() -> bool {
    Path::new(KMEMLEAK).exists()
}

/// Has every test run in full, on every kernel.
pub const EVERYTHING: &str = "NF_WASM_EVERYTHING";

/// Whether tests are to leave nothing out for time.
pub fn is_everything_wanted() -> bool {
    std::env::var_os(EVERYTHING).is_some()
}

/// Fuel for a packet that is to be under way for long: a tenth of a second, more or less.
pub fn much_fuel() -> u64 {
    match is_slow() {
        true => MAX_FUEL / 10,
        false => MAX_FUEL,
    }
}

/// Where this kernel's nf_wasm.ko is.
///
/// # Panics
///
/// If it is nowhere.
#[track_caller]
pub fn module_file() -> PathBuf {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
    for dir in ["extra", "updates"] {
        let path = Path::new("/lib/modules")
            .join(release.trim())
            .join(dir)
            .join("nf_wasm.ko");
        if path.exists() {
            return path;
        }
    }
    panic!(
        "there is no nf_wasm.ko below /lib/modules/{}",
        release.trim()
    );
}

/// Inserts a module's file, with parameters.
///
/// # Panics
///
/// If `insmod` cannot be started.
pub fn insmod(file: &Path, parameters: &[&str]) -> Output {
    let mut insmod = Command::new("insmod");
    insmod.arg(file).args(parameters).output().expect("insmod")
}

/// Inserts nf_wasm.
///
/// # Panics
///
/// If that fails.
#[track_caller]
pub fn insert() {
    insert_with(&[]);
}

/// Inserts nf_wasm, with parameters.
///
/// # Panics
///
/// If that fails.
#[track_caller]
pub fn insert_with(parameters: &[&str]) {
    let output = insmod(&module_file(), parameters);
    assert!(output.status.success(), "insmod: {output:?}");
}

/// nf_wasm with parameters, until this is dropped: then it is inserted without any.
#[derive(Debug)]
pub struct With(());

impl With {
    /// Inserts nf_wasm anew.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn parameters(parameters: &[&str]) -> Self {
        remove();
        let output = insmod(&module_file(), parameters);
        if !output.status.success() {
            insert();
            panic!("insmod: {output:?}");
        }
        Self(())
    }
}

impl Drop for With {
    fn drop(&mut self) {
        remove();
        insert();
    }
}

const LOG_ALL: &str = "/proc/sys/net/netfilter/nf_log_all_netns";

/// The kernel's log hears all network namespaces, until this is dropped.
#[derive(Debug)]
pub struct LogAll(());

impl LogAll {
    /// Has it so. Called in the initial namespace, where tests begin.
    ///
    /// # Panics
    ///
    /// If the kernel does not let itself be told.
    #[track_caller]
    pub fn namespaces() -> Self {
        fs::write(LOG_ALL, "1").expect(LOG_ALL);
        Self(())
    }
}

impl Drop for LogAll {
    fn drop(&mut self) {
        let _ = fs::write(LOG_ALL, "0");
    }
}

/// Removes nf_wasm.
///
/// # Panics
///
/// If that fails.
#[track_caller]
pub fn remove() {
    let output = Command::new("rmmod").arg("nf_wasm").output();
    let output = output.expect("rmmod");
    assert!(output.status.success(), "rmmod: {output:?}");
}

/// A tracepoint that is on until this is dropped; nothing else is traced.
#[derive(Debug)]
pub struct Tracepoint(PathBuf);

const TRACING: &str = "/sys/kernel/tracing";

impl Tracepoint {
    /// Turns a tracepoint, as in `skb/kfree_skb`, on.
    ///
    /// # Panics
    ///
    /// If there is no such tracepoint.
    #[track_caller]
    pub fn on(event: &str) -> Self {
        let dir = Path::new(TRACING).join("events").join(event);
        fs::write(Path::new(TRACING).join("trace"), "").expect("trace");
        if let Err(error) = fs::write(dir.join("enable"), "1") {
            panic!("tracepoint {event}: {error}");
        }
        Self(dir)
    }

    /// What it recorded.
    ///
    /// # Panics
    ///
    /// If that cannot be read.
    pub fn lines(&self) -> Vec<String> {
        let trace = fs::read_to_string(Path::new(TRACING).join("trace")).expect("trace");
        let lines = trace.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }
}

impl Drop for Tracepoint {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("enable"), "0");
    }
}
