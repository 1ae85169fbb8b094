// SPDX-License-Identifier: GPL-2.0-only
//! Builds nf_wasm.ko with Kbuild, from copies of the sources: the checkout is not written to.

use crate::error::{Context, Result};
use crate::files::{self, Cache};
use crate::fpu;
use crate::kernel::{jobs, Kernel};
use crate::progress::Progress;
use crate::root::Root;
use crate::tool;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The sources for Kbuild.
const SOURCES: [&str; 3] = ["Kbuild", "kmod", "shared"];
/// The object that Kbuild builds from the kernel half's Rust.
const CRATE_ROOT_OBJECT: &str = "kmod/main.o";

/// Builds the kernel module for `kernel` with the engine's object. Returns its path.
pub fn build(
    kernel: &Kernel,
    engine: &Path,
    root: &Root,
    cache: &Cache,
    checkout: &Path,
    progress: &Progress,
) -> Result<PathBuf> {
    let name = cache.of_checkout(&format!("module-{}", kernel.release));
    let dir = cache.path(&name);
    fs::create_dir_all(&dir).context(dir.display())?;
    let log = cache.path("log/module.log");
    tool::new_log(&log)?;
    progress.step("Kernel module", "Kbuild", &log, || {
        files::mirror(checkout, &dir, &SOURCES)?;
        files::copy(engine, &dir.join("kmod/engine.o"))?;
        let mut make = kbuild(kernel, root, &name)?;
        if let Some(flags) = kernel.extra_rust_flags()? {
            // make passes the flags to a shell, so parentheses need quotes.
            let quoted = flags.split(' ').map(|flag| format!("'{flag}' "));
            make.arg(format!("KRUSTFLAGS={}", quoted.collect::<String>()));
        }
        tool::run(make.arg("modules"), &log)?;
        fpu::check(&format!("/cache/{name}/nf_wasm.ko"), root, &log)?;
        Ok(dir.join("nf_wasm.ko"))
    })
}

/// Runs clippy on the kernel half, as the kernel's build does.
pub fn lint(kernel: &Kernel, root: &Root, cache: &Cache, checkout: &Path) -> Result<()> {
    let name = cache.of_checkout(&format!("module-lint-{}", kernel.release));
    let log = cache.path("log/module-lint.log");
    tool::new_log(&log)?;
    files::mirror(checkout, &cache.path(&name), &SOURCES)?;
    let mut make = kbuild(kernel, root, &name)?;
    tool::run(
        make.args(["CLIPPY=1", "KRUSTFLAGS=-Dwarnings", CRATE_ROOT_OBJECT]),
        &log,
    )
}

/// Builds the benchmarks' empty hook for `kernel`, into `out`.
pub fn empty_hook(
    kernel: &Kernel,
    root: &Root,
    cache: &Cache,
    checkout: &Path,
    out: &Path,
) -> Result<()> {
    let name = cache.of_checkout(&format!("empty-hook-{}", kernel.release));
    let log = cache.path("log/empty-hook.log");
    tool::new_log(&log)?;
    let dir = cache.path(&name);
    files::mirror(&checkout.join("bench/empty_hook"), &dir, &["."])?;
    tool::run(kbuild(kernel, root, &name)?.arg("modules"), &log)?;
    let file = "nf_wasm_empty_hook.ko";
    files::copy(&dir.join(file), &out.join(file))
}

/// `make` in the kernel's tree, for the copy of the sources with the name `name` in the cache.
fn kbuild(kernel: &Kernel, root: &Root, name: &str) -> Result<Command> {
    let mut make = root.command(["make", "-C", &kernel.inside("build")]);
    make.args([
        format!("M=/cache/{name}"),
        kernel.toolchain()?,
        format!("-j{}", jobs()),
    ]);
    Ok(make)
}
