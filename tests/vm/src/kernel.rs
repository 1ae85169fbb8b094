// SPDX-License-Identifier: GPL-2.0-only
//! Reads the kernel log and tracepoints. Inserts and removes kernel modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nf_wasm_shared::abi::limits::MAX_FUEL;

use crate::leaks::KMEMLEAK;

/// Reads the kernel log.
///
/// # Panics
///
/// If it cannot be read.
pub fn log() -> String {
    let output = Command::new("dmesg").output().expect("dmesg");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Reads the last lines of the kernel log.
pub fn log_tail(lines: usize) -> String {
    let log = log();
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Whether the kernel has PREEMPT_RT.
pub fn is_realtime() -> bool {
    let version = fs::read_to_string("/proc/sys/kernel/version");
    version.is_ok_and(|version| version.contains("PREEMPT_RT"))
}

/// Whether this kernel has so many checks that everything takes many times longer.
pub fn is_slow() -> bool {
    Path::new(KMEMLEAK).exists()
}

/// The environment variable that makes every test run in full on every kernel.
pub const EVERYTHING: &str = "NF_WASM_EVERYTHING";

/// Whether tests must not skip parts to save time.
pub fn is_everything_wanted() -> bool {
    std::env::var_os(EVERYTHING).is_some()
}

/// Whether tests repeat less: in CI, on a kernel with so many checks that everything takes many times
/// longer.
pub fn is_shortened() -> bool {
    is_slow() && !is_everything_wanted()
}

/// How often a test repeats something: `full` times, or `few` times if it [`is_shortened`].
pub fn rounds(full: u64, few: u64) -> u64 {
    match is_shortened() {
        true => few,
        false => full,
    }
}

/// Fuel for a packet that takes long: about a tenth of a second.
pub fn much_fuel() -> u64 {
    match is_slow() {
        true => MAX_FUEL / 10,
        false => MAX_FUEL,
    }
}

/// The path of this kernel's nf_wasm.ko.
///
/// # Panics
///
/// If there is no such file.
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

/// Inserts a kernel module from a file, with parameters.
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

/// nf_wasm, inserted with parameters. Inserted again without parameters when this is dropped.
#[derive(Debug)]
pub struct With(());

impl With {
    /// Removes nf_wasm and inserts it with `parameters`.
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

/// Lets filters of all network namespaces write to the kernel log. Ends when it is dropped.
#[derive(Debug)]
pub struct LogAll(());

impl LogAll {
    /// Changes the setting. Must be called in the initial network namespace, where tests begin.
    ///
    /// # Panics
    ///
    /// If the setting cannot be written.
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

/// An active tracepoint, the only one. Turned off when it is dropped.
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

    /// The trace's lines.
    ///
    /// # Panics
    ///
    /// If the trace cannot be read.
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
