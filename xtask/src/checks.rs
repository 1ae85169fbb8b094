// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask test` and `fmt`: formatting, lints, tests on the host, fuzzing, tests in the machine,
//! documentation.

use crate::cli::Options;
use crate::error::Result;
use crate::files::Cache;
use crate::kernel::Kernel;
use crate::patched::Patched;
use crate::progress::Progress;
use crate::root::Root;
use crate::suites::Suites;
use crate::table::Table;
use crate::{bench, census, docs, fuzz, module, tool, userland};
use std::path::Path;
use std::thread;
use std::time::Instant;

/// The workspaces, by the folders that they are in.
const WORKSPACES: [&str; 6] = [
    ".",
    "bench/filters",
    "bench/host",
    "filters",
    "fuzz",
    "xtask",
];
/// Sources that are in no cargo package: Kbuild compiles them.
const KBUILD_SOURCES: &str = "kmod/main.rs";

/// How many cases comparisons of the tiers try: many want an optimizer.
const CASES: &str = "NF_WASM_CASES";
/// What comparisons of the tiers are told, and that a table is to be written.
const COMPARISONS: [&str; 4] = ["NF_WASM_SEED", "NF_WASM_FROM", CASES, "NF_WASM_WRITE"];

/// Formats all sources.
pub fn format(cache: &Cache, checkout: &Path) -> Result<i32> {
    let _lock = cache.lock_checkout()?;
    let (root, _) = root(cache, checkout)?;
    Ok(i32::from(!formatting(&root, checkout, false)?))
}

/// Runs the parts that are named, all if none is, with tests whose name contains FILTER.
pub fn test(words: &[String], options: &Options, cache: &Cache, checkout: &Path) -> Result<i32> {
    let (parts, filter): (Vec<&str>, Option<&String>) = match words.first().map(String::as_str) {
        None => (vec!["lint", "host", "fuzz", "vm", "docs", "bench"], None),
        Some(part @ ("lint" | "host" | "fuzz" | "vm" | "docs" | "bench")) => {
            (vec![part], words.get(1))
        }
        Some(_) => (vec!["host", "vm"], words.first()),
    };
    let table = Table::start();
    let labelled = parts.len() + options.kernels.len() > 2;
    let suites = Suites::new(cache, checkout, &table, filter, labelled);
    let timed = |part: &str, check: &dyn Fn(&Root, &Patched) -> Result<bool>| -> Result<()> {
        if parts.contains(&part) {
            let _lock = cache.lock_checkout()?;
            let (root, patched) = root(cache, checkout)?;
            let since = Instant::now();
            let passed = check(&root, &patched)?;
            table.add(part, since.elapsed(), passed);
        }
        Ok(())
    };
    timed("lint", &|root, patched| {
        let kernel = kernel(options, root, cache, checkout)?;
        Ok(formatting(root, checkout, true)?
            & census::check(checkout)?
            & lints(root, cache, patched)?
            & kernel_lints(&kernel, root, cache, checkout))
    })?;
    // What is left for the host's processors goes on beside the machines.
    thread::scope(|scope| -> Result<()> {
        if parts.contains(&"vm") {
            for kernel in &options.kernels {
                let since = Instant::now();
                if let Err(error) = suites.start(scope, *kernel) {
                    eprintln!("{error}");
                    table.add(&format!("build {}", kernel.name()), since.elapsed(), false);
                }
            }
        }
        timed("host", &|root, patched| {
            host_tests(root, cache, patched, filter)
        })?;
        timed("fuzz", &|root, patched| fuzz::short(root, cache, patched))?;
        if parts.contains(&"docs") {
            let since = Instant::now();
            let passed = docs::test(cache, checkout).unwrap_or_else(|error| {
                eprintln!("{error}");
                false
            });
            table.add("docs", since.elapsed(), passed);
        }
        if parts.contains(&"bench") {
            let since = Instant::now();
            let passed = bench::short(cache, checkout)?;
            table.add("bench", since.elapsed(), passed);
        }
        Ok(())
    })?;
    Ok(i32::from(!table.print()))
}

/// Writes the parts of headers and documentation that come from tables in `shared/`. The test that
/// compares them does it.
pub fn generate(cache: &Cache, checkout: &Path) -> Result<i32> {
    let _lock = cache.lock_checkout()?;
    let (root, patched) = root(cache, checkout)?;
    let mut test = userland::cargo(&root, cache, &patched, "test");
    test.args([
        "--quiet",
        "--package",
        "nf-wasm-shared",
        "--test",
        "generated",
    ]);
    Ok(i32::from(!tool::show(test.env("NF_WASM_WRITE", "1"))?))
}

/// The build root.
pub fn build_root(cache: &Cache, checkout: &Path) -> Result<Root> {
    let _lock = cache.lock()?;
    Root::make(cache, checkout, &Progress::start())
}

/// The place where things are built, and what they are built with.
pub fn root(cache: &Cache, checkout: &Path) -> Result<(Root, Patched)> {
    let _lock = cache.lock()?;
    let progress = Progress::start();
    let root = Root::make(cache, checkout, &progress)?;
    let patched = Patched::make(&root, cache, checkout, &progress)?;
    Ok((root, patched))
}

fn kernel(options: &Options, root: &Root, cache: &Cache, checkout: &Path) -> Result<Kernel> {
    let shared = cache.lock()?;
    let progress = Progress::start();
    Kernel::make(options.kernels[0], root, cache, checkout, shared, &progress)
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
    let mut engines = bench::engines(root, cache, patched, "clippy");
    engines.arg("--all-targets");
    let mut own = userland::cargo_in("xtask", root, cache, "clippy");
    own.arg("--all-targets");
    // There is no test harness for a filter's target.
    let mut filters = userland::cargo_in("filters", root, cache, "clippy");
    filters.args(["--workspace", "--package", "nf-wasm-sdk"]);
    let mut passed = true;
    let bench = userland::cargo_in("bench/filters", root, cache, "clippy");
    for mut clippy in [workspace, fuzz, engines, own, filters, bench] {
        passed &= tool::show(clippy.args(["--quiet", "--keep-going", "--", "-D", "warnings"]))?;
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
    let mut tests = userland::cargo(root, cache, patched, "test");
    tests.args(filter);
    for name in COMPARISONS {
        if let Some(value) = std::env::var_os(name) {
            tests.env(name, value);
        }
    }
    if std::env::var_os(CASES).is_some() {
        tests.arg("--release");
    }
    let mut passed = tool::show(&mut tests)?;
    let mut own = userland::cargo_in("xtask", root, cache, "test");
    passed &= tool::show(own.arg("--quiet").args(filter))?;
    Ok(passed)
}
