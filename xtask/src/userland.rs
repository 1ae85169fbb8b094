// SPDX-License-Identifier: GPL-2.0-only
//! Builds the loader, the test programs, and the filters.

use crate::error::{Context, Result};
use crate::files::{self, Cache};
use crate::patched::Patched;
use crate::progress::Progress;
use crate::root::Root;
use crate::tool;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `cargo VERB` for the workspace, in the build root.
pub fn cargo(root: &Root, cache: &Cache, patched: &Patched, verb: &str) -> Command {
    let mut cargo = patched.cargo(root, verb);
    cargo.env(
        "CARGO_TARGET_DIR",
        format!("/cache/{}", cache.of_checkout("target")),
    );
    cargo
}

/// `cargo VERB` for another workspace of the checkout. The command starts in its folder: cargo
/// reads the configuration of that folder.
pub fn cargo_in(folder: &str, root: &Root, cache: &Cache, verb: &str) -> Command {
    let folder_inside = format!("--chdir=/checkout/{folder}");
    let mut cargo = root.command(["env", &folder_inside, "cargo", verb, "--locked"]);
    let target = cache.of_checkout(&format!("{folder}-target"));
    cargo.env("CARGO_TARGET_DIR", format!("/cache/{target}"));
    cargo
}

/// Builds the workspace's programs. Returns their folder.
pub fn build(
    root: &Root,
    cache: &Cache,
    patched: &Patched,
    progress: &Progress,
) -> Result<Vec<PathBuf>> {
    let log = cache.path("log/userland.log");
    tool::new_log(&log)?;
    progress.step("Loader and tests", "cargo build", &log, || {
        tool::run(cargo(root, cache, patched, "build").arg("--bins"), &log)
    })?;
    let dir = cache.path(&cache.of_checkout("target/debug"));
    let mut programs = Vec::new();
    for entry in fs::read_dir(&dir).context(dir.display())?.flatten() {
        let path = entry.path();
        let file = entry.metadata().context(path.display())?;
        if files::is_executable(&file) && path.extension().is_none() {
            programs.push(path);
        }
    }
    Ok(programs)
}

/// Builds the example filters. Returns their folder.
pub fn filters(
    root: &Root,
    cache: &Cache,
    checkout: &Path,
    progress: &Progress,
) -> Result<PathBuf> {
    let name = cache.of_checkout("filters");
    let out = cache.path(&name);
    fs::create_dir_all(&out).context(out.display())?;
    let log = cache.path("log/filters.log");
    tool::new_log(&log)?;
    // The key covers all sources of filters. The crate `shared` is part of the SDK.
    let key = files::hash(&files::contents(checkout, &["filters", "sdk", "shared"])?);
    files::once(&out, &key, || {
        progress.step("Filters", "Rust, C and text", &log, || {
            let mut make = root.command(["make", "-C", "/checkout/filters"]);
            make.args([
                format!("OUT=/cache/{name}"),
                format!("TARGET_DIR=/cache/{}", cache.of_checkout("filters-target")),
            ]);
            tool::run(&mut make, &log)
        })
    })?;
    Ok(out)
}

/// The sources of the benchmarks' filters and eBPF programs.
const BENCH_MATERIAL: [&str; 7] = [
    "bench/Makefile",
    "bench/bpf",
    "bench/filters",
    "bench/host/bpf",
    "bench/traffic",
    "sdk",
    "shared",
];

/// Builds the benchmarks' filters and eBPF programs. Returns their folder.
pub fn bench_material(
    root: &Root,
    cache: &Cache,
    checkout: &Path,
    progress: &Progress,
) -> Result<PathBuf> {
    let name = cache.of_checkout("bench");
    let out = cache.path(&name);
    fs::create_dir_all(&out).context(out.display())?;
    let log = cache.path("log/bench.log");
    tool::new_log(&log)?;
    let key = files::hash(&files::contents(checkout, &BENCH_MATERIAL)?);
    files::once(&out, &key, || {
        progress.timed("Benchmarks: filters, BPF programs", &log, || {
            let mut make = root.command(["make", "-C", "/checkout/bench"]);
            make.args([
                format!("OUT=/cache/{name}"),
                format!("TARGET_DIR=/cache/{}", cache.of_checkout("bench-target")),
            ]);
            tool::run(&mut make, &log)
        })
    })?;
    Ok(out)
}
