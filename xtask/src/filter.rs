// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask filter`: builds a filter in Rust, in any folder, with the build root's compiler.

use crate::error::{Context, Error, Result};
use crate::files::{self, Cache};
use crate::root::Root;
use crate::tool;
use std::fs;
use std::path::{Path, PathBuf};

/// The project is mounted at `/share`, the checkout at `/checkout`. Both are put where the host has them, so
/// that paths in Cargo.toml and in the compiler's messages are the host's.
const BUILD: &str = r#"
set -e
for pair in "$1" "$2"; do
    mkdir -p "${pair#*:}"
    mount --bind "${pair%%:*}" "${pair#*:}"
done
cd "$3"
exec cargo build --release --config /checkout/filters/.cargo/config.toml"#;

/// Checks that there is something to build in a folder, before long work for it begins.
pub fn require_package(dir: &Path) -> Result<()> {
    if dir.join("Cargo.toml").exists() {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} has no Cargo.toml; README.md shows one, under \"A first filter\"",
        dir.display()
    )))
}

/// A cargo package, where it is, and where it and the SDK are to be seen while it is built.
pub struct Project<'a> {
    /// As the host sees it.
    pub dir: &'a Path,
    /// Where the package says that it is.
    pub seen_at: &'a Path,
    /// Where the package looks for the checkout.
    pub checkout_at: &'a Path,
}

impl Project<'_> {
    /// Builds it and copies the modules, which are named after its programs, next to its Cargo.toml;
    /// returns them.
    pub fn build(&self, root: &Root, cache: &Cache) -> Result<Vec<PathBuf>> {
        let target = cache.of_checkout("own-filters-target");
        let products = cache.path(&target).join("wasm32-unknown-unknown/release");
        // Those of another project; cargo puts this one's there again.
        for old in modules(&products)? {
            fs::remove_file(&old).context(old.display())?;
        }
        // One may be in the other.
        let mut mounts = [("/share", self.seen_at), ("/checkout", self.checkout_at)];
        mounts.sort_by_key(|(_, at)| at.components().count());
        let mut cargo = root.command_with_share(Some(self.dir), ["nice", "-n", "10"]);
        cargo.args(["sh", "-c", BUILD, "sh"]);
        for (from, at) in mounts {
            cargo.arg(format!("{from}:{}", at.display()));
        }
        cargo
            .arg(self.seen_at)
            .env("CARGO_TARGET_DIR", format!("/cache/{target}"));
        if !tool::show(&mut cargo)? {
            return Err(Error::new(format!("{} does not build", self.dir.display())));
        }
        let mut built = Vec::new();
        for module in modules(&products)? {
            let to = self.dir.join(module.file_name().context("no name")?);
            files::copy(&module, &to)?;
            built.push(to);
        }
        if built.is_empty() {
            return Err(Error::new(format!(
                "{} builds no filter: that is a program, src/main.rs, as README.md shows",
                self.dir.display()
            )));
        }
        Ok(built)
    }
}

fn modules(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).context(dir.display())?;
    let mut modules: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    modules.retain(|path| path.extension().map_or(false, |it| it == "wasm"));
    modules.sort();
    Ok(modules)
}
