// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask test` and `fmt`: runs the parts of the tests in order.

use crate::cli::Options;
use crate::error::Result;
use crate::files::Cache;
use crate::kernel::Kernel;
use crate::patched::Patched;
use crate::progress::Progress;
use crate::root::Root;
use crate::suites::Suites;
use crate::table::Table;
use crate::workplace::root;
use crate::{bench, census, docs, fuzz, module, tool, userland};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The folders of the workspaces.
const WORKSPACES: [&str; 6] = [
    ".",
    "bench/filters",
    "bench/host",
    "filters",
    "tests/fuzz",
    "xtask",
];
/// Sources outside all cargo packages: Kbuild compiles them.
const KBUILD_SOURCES: &str = "kmod/main.rs";

/// The number of cases in comparisons of the tiers. With many cases, those tests need optimization.
const CASES: &str = "NF_WASM_CASES";
/// Settings that are passed to the tests.
const COMPARISONS: [&str; 4] = ["NF_WASM_SEED", "NF_WASM_FROM", CASES, "NF_WASM_WRITE"];

/// Formats all sources.
pub fn format(cache: &Cache, checkout: &Path) -> Result<i32> {
    let _lock = cache.lock_checkout()?;
    let (root, _) = root(cache, checkout)?;
    Ok(i32::from(!formatting(&root, checkout, false)?))
}

/// Runs the named parts, or all if none is named. FILTER selects tests by a part of their name.
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
    let everything = options.everything;
    let suites = Suites::new(cache, checkout, &table, filter, everything, labelled);
    let timed = |part: &str, check: &dyn Fn(&Root, &Patched) -> Result<bool>| -> Result<()> {
        if parts.contains(&part) {
            let _lock = cache.lock_checkout()?;
            let (root, patched) = root(cache, checkout)?;
            let (since, before) = (Instant::now(), tool::processor_time());
            let passed = check(&root, &patched)?;
            let processor = tool::processor_time() - before;
            table.add(part, since.elapsed(), processor, passed);
        }
        Ok(())
    };
    timed("lint", &|root, patched| {
        let kernel = kernel(options, root, cache, checkout)?;
        Ok(formatting(root, checkout, true)?
            & census::check(checkout)?
            & lints(root, cache, patched, everything)?
            & kernel_lints(&kernel, root, cache, checkout))
    })?;
    // The other tests run beside the virtual machines.
    thread::scope(|scope| -> Result<()> {
        if parts.contains(&"vm") {
            for kernel in &options.kernels {
                let since = Instant::now();
                if let Err(error) = suites.start(scope, *kernel) {
                    eprintln!("{error}");
                    let row = format!("build {}", kernel.name());
                    table.add(&row, since.elapsed(), Duration::ZERO, false);
                }
            }
        }
        timed("host", &|root, patched| {
            host_tests(root, cache, patched, filter)
        })?;
        timed("fuzz", &|root, patched| {
            fuzz::short(root, cache, patched, everything)
        })?;
        if parts.contains(&"docs") {
            let (since, before) = (Instant::now(), tool::processor_time());
            let passed = docs::test(cache, checkout).unwrap_or_else(|error| {
                eprintln!("{error}");
                false
            });
            let processor = tool::processor_time() - before;
            table.add("docs", since.elapsed(), processor, passed);
        }
        if parts.contains(&"bench") {
            let (since, before) = (Instant::now(), tool::processor_time());
            let passed = bench::short(cache, checkout)?;
            let processor = tool::processor_time() - before;
            table.add("bench", since.elapsed(), processor, passed);
        }
        Ok(())
    })?;
    Ok(i32::from(!table.print()))
}

/// Writes the parts of headers and documentation that are generated from tables in `shared/`. The
/// test that compares them also writes them.
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

fn kernel(options: &Options, root: &Root, cache: &Cache, checkout: &Path) -> Result<Kernel> {
    let shared = cache.lock()?;
    let progress = Progress::start();
    Kernel::make(options.kernels[0], root, cache, checkout, shared, &progress)
}

/// Runs rustfmt on all sources.
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

/// Runs clippy on all workspaces. The comparison of engines is skipped unless `everything` is set:
/// its dependencies compile for minutes, and only it uses them.
fn lints(root: &Root, cache: &Cache, patched: &Patched, everything: bool) -> Result<bool> {
    eprintln!("Lints");
    let mut workspace = userland::cargo(root, cache, patched, "clippy");
    workspace.arg("--all-targets");
    let mut fuzz = fuzz::clippy(root, cache, patched);
    fuzz.arg("--all-targets");
    let mut own = userland::cargo_in("xtask", root, cache, "clippy");
    own.arg("--all-targets");
    // The filters' target has no test harness.
    let mut filters = userland::cargo_in("filters", root, cache, "clippy");
    filters.args(["--workspace", "--package", "nf-wasm-sdk"]);
    let mut passed = true;
    let bench = userland::cargo_in("bench/filters", root, cache, "clippy");
    let mut all = vec![workspace, fuzz, own, filters, bench];
    if everything {
        let mut engines = bench::engines(root, cache, patched, "clippy");
        engines.arg("--all-targets");
        all.push(engines);
    }
    for mut clippy in all {
        passed &= tool::show(clippy.args(["--quiet", "--keep-going", "--", "-D", "warnings"]))?;
    }
    Ok(passed)
}

/// Runs clippy on the code that Kbuild compiles.
fn kernel_lints(kernel: &Kernel, root: &Root, cache: &Cache, checkout: &Path) -> bool {
    match module::lint(kernel, root, cache, checkout) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("{error}");
            false
        }
    }
}

/// Runs `cargo test` in the build root.
fn host_tests(
    root: &Root,
    cache: &Cache,
    patched: &Patched,
    filter: Option<&String>,
) -> Result<bool> {
    eprintln!("Tests on the host");
    let mut tests = userland::cargo(root, cache, patched, "test");
    // One run shows all failures.
    tests.arg("--no-fail-fast").args(filter);
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
