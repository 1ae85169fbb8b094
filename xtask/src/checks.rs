// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask test` and `fmt`: formatting, lints, tests on the host, fuzzing, tests in the machine.

use crate::build::Build;
use crate::cli::Options;
use crate::error::{Error, Result};
use crate::files::Cache;
use crate::flavour::Flavour;
use crate::kernel::Kernel;
use crate::patched::Patched;
use crate::progress::{seconds, Progress};
use crate::root::Root;
use crate::vm::{Machine, HARDENED};
use crate::{census, fuzz, module, tool, userland};
use std::path::Path;
use std::time::{Duration, Instant};

/// The workspaces, by the folders that they are in.
const WORKSPACES: [&str; 4] = [".", "filters", "fuzz", "xtask"];
/// Sources that are in no cargo package: Kbuild compiles them.
const KBUILD_SOURCES: &str = "kmod/main.rs";

/// Formats all sources.
pub fn format(cache: &Cache, checkout: &Path) -> Result<i32> {
    let _lock = cache.lock_checkout()?;
    let (root, _) = root(cache, checkout)?;
    Ok(i32::from(!formatting(&root, checkout, false)?))
}

/// Runs the parts that are named, all if none is, with tests whose name contains FILTER.
pub fn test(words: &[String], options: &Options, cache: Cache, checkout: &Path) -> Result<i32> {
    let (parts, filter): (Vec<&str>, Option<&String>) = match words.first().map(String::as_str) {
        None => (vec!["lint", "host", "fuzz", "vm"], None),
        Some(part @ ("lint" | "host" | "fuzz" | "vm")) => (vec![part], words.get(1)),
        Some(_) => (vec!["host", "vm"], words.first()),
    };
    let mut table: Vec<(String, Duration, bool)> = Vec::new();
    if parts.iter().any(|part| *part != "vm") {
        let _lock = cache.lock_checkout()?;
        let (root, patched) = root(&cache, checkout)?;
        for part in parts.iter().filter(|part| **part != "vm") {
            let since = Instant::now();
            let passed = match *part {
                "lint" => {
                    let kernel = kernel(options, &root, &cache, checkout)?;
                    formatting(&root, checkout, true)?
                        & census::check(checkout)?
                        & lints(&root, &cache, &patched)?
                        & kernel_lints(&kernel, &root, &cache, checkout)
                }
                "fuzz" => fuzz::short(&root, &cache, &patched)?,
                _ => host_tests(&root, &cache, &patched, filter)?,
            };
            table.push(((*part).to_owned(), since.elapsed(), passed));
        }
    }
    if parts.contains(&"vm") {
        for kernel in &options.kernels {
            let name = kernel.name();
            let since = Instant::now();
            let build = Build::make(*kernel, cache.clone(), checkout)?;
            table.push((format!("build {name}"), since.elapsed(), true));
            let long = build
                .durations
                .iter()
                .filter(|(_, time)| *time > Duration::from_secs(1));
            table.extend(long.map(|(what, time)| (format!("  {what}"), *time, true)));
            let since = Instant::now();
            let passed = machine_tests(*kernel, &build, filter);
            if let Err(error) = &passed {
                eprintln!("{error}");
            }
            let passed = passed.unwrap_or(false);
            table.push((format!("vm {name}"), since.elapsed(), passed));
        }
    }
    println!();
    for (part, time, passed) in &table {
        let result = if *passed { "" } else { "FAILED" };
        let part: String = part.chars().take(60).collect();
        println!("{part:<60} {:>12} {result}", seconds(*time));
    }
    Ok(i32::from(table.iter().any(|(_, _, passed)| !passed)))
}

/// The place where things are built.
pub fn root(cache: &Cache, checkout: &Path) -> Result<(Root, Patched)> {
    let _lock = cache.lock()?;
    let progress = Progress::start();
    let root = Root::make(cache, checkout, &progress)?;
    let patched = Patched::make(&root, cache, checkout, &progress)?;
    Ok((root, patched))
}

fn kernel(options: &Options, root: &Root, cache: &Cache, checkout: &Path) -> Result<Kernel> {
    let _lock = cache.lock()?;
    let progress = Progress::start();
    Kernel::make(options.kernels[0], root, cache, checkout, &progress)
}

/// rustfmt over everything.
fn formatting(root: &Root, checkout: &Path, check: bool) -> Result<bool> {
    eprintln!("Formatting");
    let check: &[&str] = if check { &["--check"] } else { &[] };
    let mut passed = true;
    for workspace in WORKSPACES {
        let mut cargo = root.command(["cargo", "fmt", "--all"]);
        cargo
            .args(["--manifest-path", &format!("{workspace}/Cargo.toml"), "--"])
            .args(check);
        passed &= tool::show(&mut cargo)?;
    }
    if checkout.join(KBUILD_SOURCES).exists() {
        let mut rustfmt = root.command(["rustfmt", "--edition", "2021", KBUILD_SOURCES]);
        passed &= tool::show(rustfmt.args(check))?;
    }
    Ok(passed)
}

/// Clippy over all workspaces.
fn lints(root: &Root, cache: &Cache, patched: &Patched) -> Result<bool> {
    eprintln!("Lints");
    let mut workspace = userland::cargo(root, cache, patched, "clippy");
    workspace.arg("--all-targets");
    let mut fuzz = fuzz::cargo(root, cache, patched, "clippy");
    fuzz.arg("--all-targets");
    let mut own = userland::cargo_in("xtask", root, cache, "clippy");
    own.arg("--all-targets");
    // There is no test harness for a filter's target.
    let mut filters = userland::cargo_in("filters", root, cache, "clippy");
    filters.args(["--workspace", "--package", "nf-wasm-sdk"]);
    let mut passed = true;
    for mut clippy in [workspace, fuzz, own, filters] {
        passed &= tool::show(clippy.args(["--quiet", "--", "-D", "warnings"]))?;
    }
    Ok(passed)
}

/// Clippy over what Kbuild compiles.
fn kernel_lints(kernel: &Kernel, root: &Root, cache: &Cache, checkout: &Path) -> bool {
    match module::lint(kernel, root, cache, checkout) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("{error}");
            false
        }
    }
}

/// `cargo test` in the build root.
fn host_tests(
    root: &Root,
    cache: &Cache,
    patched: &Patched,
    filter: Option<&String>,
) -> Result<bool> {
    eprintln!("Tests on the host");
    let mut passed = tool::show(userland::cargo(root, cache, patched, "test").args(filter))?;
    let mut own = userland::cargo_in("xtask", root, cache, "test");
    passed &= tool::show(own.arg("--quiet").args(filter))?;
    Ok(passed)
}

/// The tests that run in the machine, with the kernel looking hard for errors.
fn machine_tests(kernel: Flavour, build: &Build, filter: Option<&String>) -> Result<bool> {
    // Lockdown cannot be undone, and has a machine of its own.
    const LAST: &str = "lockdown";
    let last = filter.map_or(true, |filter| filter.starts_with(LAST));
    if filter.is_none() || !last {
        machine_test(kernel, build, filter.into_iter().map(String::as_str))?;
    }
    if last {
        let filter = filter.map_or(LAST, String::as_str);
        machine_test(kernel, build, ["--ignored", filter])?;
    }
    Ok(true)
}

/// The tests that `words` name, in one machine.
fn machine_test<'a>(
    kernel: Flavour,
    build: &Build,
    words: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let mut command = vec!["nf-wasm-vmtest".into()];
    command.extend(words.into_iter().map(Into::into));
    let machine = Machine {
        command,
        append: match kernel.is_own() {
            true => Vec::new(),
            false => HARDENED.iter().map(|word| (*word).to_owned()).collect(),
        },
        timeout: Duration::from_secs(60 * 60),
        ..Machine::default()
    };
    match build.boot(&machine, None)? {
        0 => Ok(()),
        status => Err(Error::new(format!(
            "nf-wasm-vmtest ended with status {status}"
        ))),
    }
}
