// SPDX-License-Identifier: GPL-2.0-only
//! Applies patches to registry crates. Tests on the host and the kernel use the same copies.

use crate::error::{Context, Result};
use crate::files::{self, Cache};
use crate::kernel::jobs;
use crate::progress::Progress;
use crate::root::Root;
use crate::tool;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The patched copies of crates.
pub struct Patched {
    /// Their folders, as the build root sees them.
    copies: Vec<String>,
}

impl Patched {
    /// Makes the copies. A patch has the name of the crate's folder in the registry:
    /// NAME-VERSION.patch.
    pub fn make(root: &Root, cache: &Cache, checkout: &Path, progress: &Progress) -> Result<Self> {
        let mut patches: Vec<PathBuf> = match fs::read_dir(checkout.join("patches")) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => Vec::new(),
        };
        patches.retain(|path| {
            path.extension()
                .map_or(false, |extension| extension == "patch")
        });
        patches.sort();
        let log = cache.path("log/patched.log");
        tool::new_log(&log)?;
        let mut copies = Vec::new();
        for patch in patches {
            let krate = patch
                .file_stem()
                .context(patch.display())?
                .to_string_lossy()
                .into_owned();
            let content = fs::read_to_string(&patch).context(patch.display())?;
            let key = files::hash(&content);
            let name = format!("patched/{krate}-{}", &key[..8]);
            files::once(&cache.path(&name), &key, || {
                progress.timed(&format!("Fetching crates, patching {krate}"), &log, || {
                    tool::run(&mut root.command(["cargo", "fetch", "--locked"]), &log)?;
                    let mut copy = root.command(["sh", "-c", COPY, "sh", &krate]);
                    tool::run(copy.arg(format!("/cache/{name}")), &log)
                })
            })?;
            copies.push(format!("/cache/{name}"));
        }
        Ok(Self { copies })
    }

    /// A cargo command that builds the workspace with the copies.
    pub fn cargo(&self, root: &Root, verb: &str) -> Command {
        let mut cargo = root.command(["cargo", verb, "--jobs", &jobs().to_string()]);
        // wasmi declares a newer compiler than it needs.
        cargo.args(["--locked", "--ignore-rust-version"]);
        if !self.copies.is_empty() {
            cargo.args(["--config", &format!("paths={:?}", self.copies)]);
        }
        cargo
    }
}

const COPY: &str = r#"
set -e
cp -r "$CARGO_HOME"/registry/src/*/"$1"/. "$2"
patch -s -p1 -d "$2" < "/checkout/patches/$1.patch"
"#;
