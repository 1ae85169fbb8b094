// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bench`: measures the cost of filters, in a machine whose instructions QEMU counts.

use crate::build::Build;
use crate::error::{Context, Result};
use crate::files::Cache;
use crate::flavour::Flavour;
use crate::patched::Patched;
use crate::progress::Progress;
use crate::root::Root;
use crate::vm::{Machine, Run};
use crate::{tool, userland, workplace};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The file of results, below the checkout.
const RESULTS: &str = "bench/results/latest.json";
/// The other measurements, each in its own machine: the report's option, the command, the number of
/// CPUs.
const OTHERS: [(&str, &str, u32); 8] = [
    ("--curves", "curves", 1),
    ("--loads", "loads", 1),
    ("--scaling", "scaling", 1),
    ("--scaling", "scaling", 2),
    ("--scaling", "scaling", 4),
    ("--cpus", "cpus", 1),
    ("--cpus", "cpus", 4),
    ("--cpus", "cpus", 16),
];
/// How much larger, in percent, a figure may be before the tests fail.
const GROWTH: &str = "3";
/// The time limit of a machine.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A machine in which a virtual nanosecond is an instruction. The caller adds the command.
pub fn counting(material: PathBuf) -> Machine {
    Machine {
        cpus: 1,
        append: vec!["mitigations=off".into(), "nokaslr".into()],
        // With fast short moves (FSRM) the kernel copies with `rep movsb`, in which QEMU counts
        // each byte. Without, the kernel copies words.
        qemu_args: ["-icount", "shift=0,sleep=off", "-cpu", "max,-fsrm"]
            .map(str::to_owned)
            .to_vec(),
        share: Some(material),
        timeout: PATIENCE,
        captured: true,
        ..Machine::default()
    }
}

/// Measures `workloads`, or all if it is empty, with `material` of [`Build::bench_material`].
pub fn bench(
    build: &Build,
    workloads: &[String],
    material: PathBuf,
    checkout: &Path,
) -> Result<i32> {
    let run = match measure(build, workloads, material.clone())? {
        Ok(run) => run,
        Err(status) => return Ok(status),
    };
    let mut report = build.program("nf-wasm-bench");
    report.args(["report", &run.inside("stdout"), "--commit"]);
    report.arg(commit(checkout));
    let mut others = Vec::new();
    if workloads.is_empty() {
        for (option, verb, cpus) in OTHERS {
            let machine = Machine {
                cpus,
                command: vec!["nf-wasm-bench".into(), verb.into()],
                ..counting(material.clone())
            };
            let run = build.prepare(&machine)?;
            match build.run(&machine, &run, Some("tcg"))? {
                0 => others.push((option, run)),
                status => return Ok(status),
            }
        }
    }
    for (option, run) in &others {
        report.args([option, run.inside("stdout").as_str()]);
    }
    if workloads.is_empty() {
        report.args(["--publish", "/checkout"]);
    }
    Ok(report.status().map_or(1, |it| it.code().unwrap_or(1)))
}

/// Measures nf_wasm alone, and compares the figures with the committed ones.
pub fn short(cache: &Cache, checkout: &Path) -> Result<bool> {
    let build = Build::make(Flavour::Stock, cache.clone(), checkout)?;
    let material = build.bench_material(checkout)?;
    let only = ["--contender", "nf_wasm"].map(str::to_owned);
    let Ok(run) = measure(&build, &only, material)? else {
        return Ok(false);
    };
    let mut compare = build.program("nf-wasm-bench");
    compare.args(["compare", &format!("/checkout/{RESULTS}")]);
    compare.args([&run.inside("stdout"), "--percent", GROWTH]);
    tool::show(&mut compare)
}

/// Compares engines on the host.
pub fn on_host(cache: &Cache, checkout: &Path) -> Result<i32> {
    let _lock = cache.lock_checkout()?;
    let (root, patched) = workplace::root(cache, checkout)?;
    let progress = Progress::start();
    let filters = userland::filters(&root, cache, checkout, &progress)?;
    let material = userland::bench_material(&root, cache, checkout, &progress)?;
    let mut cargo = engines(&root, cache, &patched, "bench");
    for (name, folder) in [
        ("NF_WASM_FILTERS", filters),
        ("NF_WASM_BENCH_MATERIAL", material),
    ] {
        let folder = folder.strip_prefix(&cache.dir).context(name)?;
        cargo.env(name, Path::new("/cache").join(folder));
    }
    Ok(i32::from(!tool::show(&mut cargo)?))
}

/// `cargo VERB` for the benchmarks that compare engines.
pub fn engines(root: &Root, cache: &Cache, patched: &Patched, verb: &str) -> Command {
    let mut cargo = patched.cargo(root, verb);
    cargo.args(["--manifest-path", "bench/host/Cargo.toml"]);
    let target = cache.of_checkout("bench-host-target");
    cargo.env("CARGO_TARGET_DIR", format!("/cache/{target}"));
    // The checkout's bindgen comes before Debian's in PATH.
    cargo.env("PATH", "/checkout/bench/host/tools:/usr/sbin:/usr/bin");
    cargo
}

/// Runs the benchmark program with `words`. The run's `stdout` has the report.
fn measure(
    build: &Build,
    words: &[String],
    material: PathBuf,
) -> Result<std::result::Result<Run, i32>> {
    let mut command: Vec<OsString> = vec!["nf-wasm-bench".into(), "measure".into()];
    command.extend(words.iter().map(OsString::from));
    let machine = Machine {
        command,
        ..counting(material)
    };
    let run = build.prepare(&machine)?;
    match build.run(&machine, &run, Some("tcg"))? {
        0 => Ok(Ok(run)),
        status => Ok(Err(status)),
    }
}

/// The checkout's commit.
fn commit(checkout: &Path) -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(checkout)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}
