// SPDX-License-Identifier: GPL-2.0-only
//! nf_wasm.ko: Kbuild, run on copies of the sources so that the checkout stays clean.

use crate::error::{Context, Result};
use crate::files::{self, Cache};
use crate::kernel::{jobs, Kernel};
use crate::progress::Progress;
use crate::root::Root;
use crate::tool;
use std::fs;
use std::path::{Path, PathBuf};

/// What Kbuild reads of the checkout.
const SOURCES: [&str; 3] = ["Kbuild", "abi", "kmod"];

/// Builds the module for `kernel` with the engine's object; returns where it is.
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
        let mut make = root.command(["make", "-C", &kernel.inside("build")]);
        make.args([
            format!("M=/cache/{name}"),
            format!("CC={}", kernel.compiler()?),
            format!("-j{}", jobs()),
        ]);
        tool::run(make.arg("modules"), &log)?;
        Ok(dir.join("nf_wasm.ko"))
    })
}
