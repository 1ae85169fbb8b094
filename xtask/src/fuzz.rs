// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask fuzz`: the targets in `tests/fuzz/`, with libFuzzer and AddressSanitizer.

use crate::cli::Fuzzing;
use crate::error::{Context, Error, Result};
use crate::files::Cache;
use crate::patched::Patched;
use crate::root::Root;
use crate::{tool, userland};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The targets, with the runs of a short test.
const TARGETS: [(&str, u32); 4] = [
    ("load", 2_000),
    ("guest", 1_000),
    ("ioctl", 60_000),
    ("loader", 4_000),
];
/// The default duration of a target, in seconds.
const SECONDS: u32 = 60;
const MANIFEST: &str = "tests/fuzz/Cargo.toml";
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// A wrapper that passes cargo-fuzz's flags to rustc, for the crates that are fuzzed.
const WRAPPER: &str = "/checkout/tests/fuzz/instrument";
/// The factor for the runs of a short test with `--everything`.
const LONGER: u32 = 10;

/// Fuzzes the named targets, or all in turn. Prints the folder of findings and how to continue.
pub fn fuzz(names: &[String], fuzzing: &Fuzzing, cache: &Cache, checkout: &Path) -> Result<i32> {
    for name in names {
        if !TARGETS.iter().any(|(target, _)| target == name) {
            let targets: Vec<_> = TARGETS.iter().map(|(target, _)| *target).collect();
            return Err(Error::new(format!(
                "there is no target {name}; the targets are {}",
                targets.join(", ")
            )));
        }
    }
    let (root, patched) = {
        let _lock = cache.lock_checkout()?;
        let (root, patched) = crate::workplace::root(cache, checkout)?;
        build(&root, cache, &patched)?;
        (root, patched)
    };
    drop(patched);
    let mut status = 0;
    for (target, _) in TARGETS {
        if !names.is_empty() && !names.iter().any(|name| name == target) {
            continue;
        }
        let folder = format!("fuzz/{target}");
        for part in ["corpus", "artifacts"] {
            let path = cache.path(&format!("{folder}/{part}"));
            fs::create_dir_all(&path).context(path.display())?;
        }
        let mut run = command(target, &root, cache);
        run.arg(format!("-artifact_prefix=/cache/{folder}/artifacts/"));
        run.arg(format!("-seed={}", fuzzing.seed));
        if let Some(input) = &fuzzing.reproduce {
            let copy = cache.path(&format!("{folder}/reproduce"));
            fs::copy(input, copy).context(input.display())?;
            run.arg(format!("/cache/{folder}/reproduce"));
        } else {
            match fuzzing.runs {
                Some(runs) => run.arg(format!("-runs={runs}")),
                None => run.arg(format!(
                    "-max_total_time={}",
                    fuzzing.seconds.unwrap_or(SECONDS)
                )),
            };
            run.arg(format!("/cache/{folder}/corpus"));
        }
        let passed = tool::show(&mut run)?;
        let folder = cache.path(&folder);
        println!(
            "{target}: {}. Findings are in {}; `cargo xtask fuzz {target} --reproduce FILE` runs one. \
             The next run continues with the corpus in {}",
            if passed { "nothing found" } else { "FOUND something" },
            folder.join("artifacts").display(),
            folder.join("corpus").display(),
        );
        status |= i32::from(!passed);
    }
    Ok(status)
}

/// Runs each target from an empty corpus with a fixed seed, so that every run is the same.
pub fn short(root: &Root, cache: &Cache, patched: &Patched, everything: bool) -> Result<bool> {
    eprintln!("Fuzzing, a little");
    build(root, cache, patched)?;
    let mut passed = true;
    for (target, runs) in TARGETS {
        let runs = if everything { runs * LONGER } else { runs };
        let log = cache.path(&format!("log/fuzz-{target}.log"));
        tool::new_log(&log)?;
        let mut run = command(target, root, cache);
        run.args(["-seed=1", &format!("-runs={runs}")]);
        run.arg(format!("-artifact_prefix=/cache/log/fuzz-{target}-"));
        match tool::run(&mut run, &log) {
            Ok(()) => println!("fuzz {target}: {runs} runs"),
            Err(error) => {
                eprintln!("{error}");
                passed = false;
            }
        }
    }
    Ok(passed)
}

fn build(root: &Root, cache: &Cache, patched: &Patched) -> Result<()> {
    let mut cargo = self::cargo(root, cache, patched, "build");
    cargo.args(["--release", "--quiet", "--target", TRIPLE]);
    // The sanitizer's flags are unstable. The compiler is the kernel's, a stable one.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("RUSTFLAGS", "--cfg fuzzing");
    cargo.env("RUSTC_WRAPPER", WRAPPER);
    if tool::show(&mut cargo)? {
        return Ok(());
    }
    Err(Error::new("the fuzz targets do not build"))
}

/// `cargo VERB` for the targets.
fn cargo(root: &Root, cache: &Cache, patched: &Patched, verb: &str) -> Command {
    let mut cargo = patched.cargo(root, verb);
    cargo.args(["--manifest-path", MANIFEST]);
    cargo.env("CARGO_TARGET_DIR", format!("/cache/{}", target_dir(cache)));
    cargo
}

/// `cargo clippy` for the targets. It needs no instrumentation, so it shares the workspace's build
/// products of dependencies.
pub fn clippy(root: &Root, cache: &Cache, patched: &Patched) -> Command {
    let mut cargo = userland::cargo(root, cache, patched, "clippy");
    cargo.args(["--manifest-path", MANIFEST]);
    cargo
}

/// The folder's name depends on the wrapper's flags, because cargo does not see them.
fn target_dir(cache: &Cache) -> String {
    cache.of_checkout("fuzz-target-2")
}

/// A command that runs a target, with the limits of every run.
fn command(target: &str, root: &Root, cache: &Cache) -> Command {
    let dir = target_dir(cache);
    // rustc links the sanitizer's runtime after other libraries, but it must come first.
    let mut run = root.command(["env", "LD_PRELOAD=libasan.so.8"]);
    run.arg(format!("/cache/{dir}/{TRIPLE}/release/{target}"));
    run.args(["-timeout=30", "-rss_limit_mb=2048", "-max_len=4096"]);
    // Inputs of any length from the start: a case needs a few hundred bytes.
    run.args(["-len_control=0", "-print_final_stats=1"]);
    // Filters' code is leaked on purpose until its engine is freed.
    run.env("ASAN_OPTIONS", "detect_leaks=0");
    run
}
