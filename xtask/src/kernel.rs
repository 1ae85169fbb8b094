// SPDX-License-Identifier: GPL-2.0-only
//! Debian's kernel: its image and modules, and a tree to build our module against.

use crate::error::{Context, Error, Result};
use crate::files::{self, Cache};
use crate::offer::{Flavour, Offer};
use crate::progress::Progress;
use crate::root::Root;
use crate::tool;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

/// A kernel that is ready to boot and to build against.
pub struct Kernel {
    /// As `uname -r` says.
    pub release: String,
    cache: PathBuf,
}

impl Kernel {
    /// Fetches and prepares a kernel, as far as the cache does not have it.
    pub fn make(flavour: Flavour, root: &Root, cache: &Cache, progress: &Progress) -> Result<Self> {
        let offer = Offer::find(flavour, root, cache, progress)?;
        let kernel = Self {
            release: offer.release.clone(),
            cache: cache.dir.clone(),
        };
        let version = &offer.version;
        progress.say(&format!("Kernel {} (Debian {version})", kernel.release));

        let log = cache.path(&format!("log/kernel-{}.log", kernel.release));
        tool::new_log(&log)?;
        let debs = format!("kernel/debs-{version}");
        let source = format!("kernel/source-{version}");
        let headers = format!("linux-headers-{}", kernel.release);
        let (image_dir, headers_dir) = (kernel.dir("image"), kernel.dir("headers"));

        let image_key = format!("1 {version} {}", offer.image.join(" "));
        if !files::is_made(&image_dir, &image_key) || !files::is_made(&cache.path(&source), version)
        {
            let packages = offer.image.iter().chain([&headers, &offer.source]);
            let packages: Vec<_> = packages.map(String::as_str).collect();
            let detail = format!("image, headers and source of {}", kernel.release);
            progress.step("Kernel packages", &detail, &log, || {
                fs::create_dir_all(cache.path(&debs)).context("debs")?;
                let script = "cd \"$1\" && shift && apt-get download -q \"$@\"";
                let folder = format!("/cache/{debs}");
                let mut download = root.command(["sh", "-c", script, "sh", &folder]);
                download.args(&packages);
                tool::run(&mut download, &log)
                    .context("These packages may have been replaced: try cargo xtask update")?;
                files::once(&headers_dir, version, || {
                    unpack(
                        root,
                        &debs,
                        std::slice::from_ref(&headers),
                        &kernel.inside("headers"),
                        &log,
                    )
                })?;
                files::once(&image_dir, &image_key, || {
                    unpack(root, &debs, &offer.image, &kernel.inside("image"), &log)?;
                    kernel.tidy_image()
                })
            })?;
        }
        files::once(&cache.path(&source), version, || {
            progress.step("Kernel source", &offer.source, &log, || {
                let script = r#"
                    set -e
                    dpkg --fsys-tarfile "$1/$2"_*.deb | tar -xO --wildcards './usr/src/*.tar.xz' |
                        xz -dc -T0 | tar -x --strip-components=1 -C "$3""#;
                let (debs, source) = (format!("/cache/{debs}"), format!("/cache/{source}"));
                let mut command = root.command(["bash", "-o", "pipefail", "-c", script, "sh"]);
                tool::run(command.args([&debs, &offer.source, &source]), &log)
            })
        })?;
        let _ = fs::remove_dir_all(cache.path(&debs));

        let tree = kernel.dir("build");
        let key = format!("{version} {}", root.path("usr/bin/rustc").display());
        files::once(&tree, &key, || {
            let detail = "configuration, Rust metadata, objtool";
            progress.step("Kernel tree", detail, &log, || {
                kernel.prepare(root, &format!("/cache/{source}"), &log)
            })
        })?;
        Offer::prune(cache)?;
        Ok(kernel)
    }

    /// Gives the unpacked image the same shape whichever way Debian packaged it.
    fn tidy_image(&self) -> Result<()> {
        let image = self.dir("image");
        let lib = image.join("lib");
        if !lib.exists() {
            // Where depmod looks.
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

    /// Configures the source as Debian did, and makes what a module's build needs of it. Debian's
    /// headers package has no Rust metadata, which is why this is not simply the headers package.
    fn prepare(&self, root: &Root, source: &str, log: &Path) -> Result<()> {
        let tree = self.dir("build");
        let headers = self
            .dir("headers")
            .join(format!("usr/src/linux-headers-{}", self.release));
        for file in [".config", "Module.symvers"] {
            files::copy(&headers.join(file), &tree.join(file))?;
        }
        let log = log.to_path_buf();
        let plain = tool::capture(
            &mut root.command(["make", "-s", "-C", source, "kernelversion"]),
            &log,
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
            format!("CC={}", self.compiler()?),
            format!("-j{}", jobs()),
        ]);
        make.args(["olddefconfig", "prepare", "modules_prepare"]);
        tool::run(&mut make, &log)?;
        let made = tree.join("include/config/kernel.release");
        let made = fs::read_to_string(&made).context(made.display())?;
        if made.trim() != self.release {
            return Err(Error::new(format!(
                "prepared {made} instead of {}",
                self.release
            )));
        }
        Ok(())
    }

    /// The C compiler that Debian built this kernel with, by its configuration.
    pub fn compiler(&self) -> Result<String> {
        let config = self.dir("build").join(".config");
        let text = fs::read_to_string(&config).context(config.display())?;
        text.lines()
            .find_map(|line| line.strip_prefix("CONFIG_CC_VERSION_TEXT=\""))
            .and_then(|version| version.split(' ').next())
            .map(str::to_owned)
            .context("CONFIG_CC_VERSION_TEXT is not set")
    }

    /// A part of this kernel (`image`, `headers`, `build`), as the host sees it.
    pub fn dir(&self, part: &str) -> PathBuf {
        self.cache.join("kernel").join(&self.release).join(part)
    }

    /// The same, as the build root sees it.
    pub fn inside(&self, part: &str) -> String {
        format!("/cache/kernel/{}/{part}", self.release)
    }

    /// The compressed kernel image, as the build root sees it.
    pub fn vmlinuz(&self) -> String {
        self.inside("image/vmlinuz")
    }
}

/// Unpacks packages into a folder without installing them.
fn unpack(root: &Root, debs: &str, packages: &[String], to: &str, log: &Path) -> Result<()> {
    for package in packages {
        let script = "dpkg -x \"$1/$2\"_*.deb \"$3\"";
        let mut command = root.command(["sh", "-c", script, "sh"]);
        command.args([&format!("/cache/{debs}"), package, to]);
        tool::run(&mut command, log)?;
    }
    Ok(())
}

/// How many processes at once.
pub fn jobs() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
