// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask filter`: builds a Rust filter in any folder with the build root's compiler.

use crate::error::{Context, Error, Result};
use crate::files::{self, Cache};
use crate::root::Root;
use crate::tool;
use std::fs;
use std::path::{Path, PathBuf};

/// The project is mounted at `/share`, the checkout at `/checkout`. The script mounts both at their
/// paths on the host too, so that paths in Cargo.toml and in compiler messages are the host's.
const BUILD: &str = r#"
set -e
for pair in "$1" "$2"; do
    mkdir -p "${pair#*:}"
    mount --bind "${pair%%:*}" "${pair#*:}"
done
cd "$3"
exec cargo build --release --config /checkout/filters/.cargo/config.toml"#;

/// Checks that a folder has a package, before the long build of everything else.
pub fn require_package(dir: &Path) -> Result<()> {
    if dir.join("Cargo.toml").exists() {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} has no Cargo.toml; README.md shows one, under \"A first filter\"",
        dir.display()
    )))
}

/// A cargo package, and the paths of the package and the SDK during its build.
pub struct Project<'a> {
    /// The package's folder on the host.
    pub dir: &'a Path,
    /// The path where the build sees the package.
    pub seen_at: &'a Path,
    /// The path where the build sees the checkout.
    pub checkout_at: &'a Path,
}

impl Project<'_> {
    /// Builds the package, and copies the filters next to its Cargo.toml. They have the names of
    /// the package's programs. Returns their paths.
    pub fn build(&self, root: &Root, cache: &Cache) -> Result<Vec<PathBuf>> {
        let target = cache.of_checkout("own-filters-target");
        let products = cache.path(&target).join("wasm32-unknown-unknown/release");
        // Remove the products of other projects. Cargo links this project's products again.
        for old in modules(&products)? {
            fs::remove_file(&old).context(old.display())?;
        }
        // One path may be below the other: mount the outer one first.
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
                "{} builds no filter: a filter is a program, src/main.rs, as README.md shows",
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
