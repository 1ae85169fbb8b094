// SPDX-License-Identifier: GPL-2.0-only
//! Debian's kernels: downloads and unpacks them.

use super::source::{self, Packages};
use super::{jobs, Kernel};
use crate::error::{Context, Result};
use crate::files::{self, Cache};
use crate::offer::Offer;
use crate::progress::Progress;
use crate::root::Root;
use crate::tool;
use std::os::unix::fs::symlink;
use std::path::Path;

impl Kernel {
    /// Fetches the image and the headers, and prepares a tree.
    pub(super) fn fetch(
        &self,
        offer: &Offer,
        root: &Root,
        cache: &Cache,
        progress: &Progress,
        log: &Path,
    ) -> Result<()> {
        let version = &offer.version;
        let headers = format!("linux-headers-{}", self.release);
        let (image_dir, headers_dir) = (self.dir("image"), self.dir("headers"));
        let image_key = format!("1 {version} {}", offer.image.join(" "));
        if !files::is_made(&image_dir, &image_key) || !files::is_made(&headers_dir, version) {
            let detail = format!("image and headers of {}", self.release);
            progress.step("Kernel packages", &detail, log, || {
                let names: Vec<_> = offer.image.iter().chain([&headers]).collect();
                let names: Vec<_> = names.into_iter().map(String::as_str).collect();
                let packages = Packages::download(&names, version, root, cache, log)?;
                files::once(&headers_dir, version, || {
                    packages.unpack(std::slice::from_ref(&headers), &self.inside("headers"))
                })?;
                files::once(&image_dir, &image_key, || {
                    packages.unpack(&offer.image, &self.inside("image"))?;
                    self.tidy_image()
                })
            })?;
        }
        let source = source::make(offer, root, cache, progress, log)?;
        let key = format!("{version} {}", root.path("usr/bin/rustc").display());
        files::once(&self.dir("build"), &key, || {
            let detail = "configuration, Rust metadata, objtool";
            progress.step("Kernel tree", detail, log, || {
                self.prepare(root, &source, log)
            })
        })
    }

    /// Gives the unpacked image the same layout for every way in which Debian packages it.
    fn tidy_image(&self) -> Result<()> {
        let image = self.dir("image");
        let lib = image.join("lib");
        if !lib.exists() {
            // The path where depmod looks.
            symlink("usr/lib", &lib).context(lib.display())?;
        }
        let places = [
            format!("usr/lib/modules/{}/vmlinuz", self.release),
            format!("boot/vmlinuz-{}", self.release),
        ];
        let place = places.iter().find(|place| image.join(place).exists());
        let place = place.context(format!("no vmlinuz in {}", image.display()))?;
        symlink(place, image.join("vmlinuz")).context("vmlinuz")
    }

    /// Configures the source as Debian did, and builds the parts that a module's build needs.
    /// Debian's headers package alone does not suffice: it lacks the Rust metadata.
    fn prepare(&self, root: &Root, source: &str, log: &Path) -> Result<()> {
        let tree = self.dir("build");
        let headers = self
            .dir("headers")
            .join(format!("usr/src/linux-headers-{}", self.release));
        for file in [".config", "Module.symvers"] {
            files::copy(&headers.join(file), &tree.join(file))?;
        }
        let plain = tool::capture(
            &mut root.command(["make", "-s", "-C", source, "kernelversion"]),
            log,
        )?;
        let local = self.release.strip_prefix(plain.trim()).context(format!(
            "{} is not made from {}",
            self.release,
            plain.trim()
        ))?;
        let mut make = root.command(["make", "-C", source]);
        make.args([
            format!("O={}", self.inside("build")),
            format!("LOCALVERSION={local}"),
            self.toolchain()?,
            format!("-j{}", jobs()),
        ]);
        make.args(["olddefconfig", "prepare", "modules_prepare"]);
        tool::run(&mut make, log)?;
        self.check_release()
    }
}
