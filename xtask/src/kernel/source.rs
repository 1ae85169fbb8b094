// SPDX-License-Identifier: GPL-2.0-only
//! Downloads the kernel's source and other packages.

use crate::error::{Context, Result};
use crate::files::{self, Cache};
use crate::offer::Offer;
use crate::progress::Progress;
use crate::root::Root;
use crate::tool;
use std::fs;
use std::path::Path;

/// Downloaded packages. Removed when this is dropped.
pub struct Packages<'a> {
    root: &'a Root,
    cache: &'a Cache,
    name: String,
    log: &'a Path,
}

impl<'a> Packages<'a> {
    /// Downloads packages of the version `version`.
    pub fn download(
        names: &[&str],
        version: &str,
        root: &'a Root,
        cache: &'a Cache,
        log: &'a Path,
    ) -> Result<Self> {
        let packages = Self {
            root,
            cache,
            name: format!("kernel/debs-{version}"),
            log,
        };
        let dir = cache.path(&packages.name);
        fs::create_dir_all(&dir).context(dir.display())?;
        let script = "cd \"$1\" && shift && apt-get download -q \"$@\"";
        let mut download = root.command(["sh", "-c", script, "sh", &packages.inside()]);
        tool::run(download.args(names), log)
            .context("These packages may have been replaced: try cargo xtask update")?;
        Ok(packages)
    }

    /// The folder of the packages, as the build root sees it.
    fn inside(&self) -> String {
        format!("/cache/{}", self.name)
    }

    /// Unpacks packages into a folder of the build root, without installing them.
    pub fn unpack(&self, names: &[String], to: &str) -> Result<()> {
        for name in names {
            let script = "dpkg -x \"$1/$2\"_*.deb \"$3\"";
            let mut command = self.root.command(["sh", "-c", script, "sh"]);
            tool::run(command.args([&self.inside(), name, to]), self.log)?;
        }
        Ok(())
    }
}

impl Drop for Packages<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.cache.path(&self.name));
    }
}

/// Unpacks the source. Returns its folder, as the build root sees it.
pub fn make(
    offer: &Offer,
    root: &Root,
    cache: &Cache,
    progress: &Progress,
    log: &Path,
) -> Result<String> {
    let version = &offer.version;
    let name = format!("kernel/source-{version}");
    let inside = format!("/cache/{name}");
    files::once(&cache.path(&name), version, || {
        progress.step("Kernel source", &offer.source, log, || {
            let packages = Packages::download(&[&offer.source], version, root, cache, log)?;
            let script = r#"
                dpkg --fsys-tarfile "$1/$2"_*.deb | tar -xO --wildcards './usr/src/*.tar.xz' |
                    xz -dc -T0 | tar -x --strip-components=1 -C "$3""#;
            let mut command = root.command(["bash", "-e", "-o", "pipefail", "-c", script, "sh"]);
            tool::run(
                command.args([&packages.inside(), &offer.source, &inside]),
                log,
            )
        })
    })?;
    Ok(inside)
}
