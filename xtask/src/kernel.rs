// SPDX-License-Identifier: GPL-2.0-only
//! Debian's kernel: which one trixie-backports offers today, its image, and a tree to build
//! modules against. No version is written down anywhere; package names lead from one to the next.

use crate::error::{Context, Error, Result};
use crate::files::{self, Cache};
use crate::progress::Progress;
use crate::root::{Root, KERNEL_SUITE};
use crate::tool;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

/// One of the kernels that Debian builds from the same source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// `linux-image-amd64`.
    Stock,
    /// `linux-image-cloud-amd64`: fewer drivers.
    Cloud,
}

impl Flavour {
    /// The flavour called `name`.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "stock" => Ok(Self::Stock),
            "cloud" => Ok(Self::Cloud),
            _ => Err(Error::new(format!(
                "There is no kernel {name:?}, only stock and cloud"
            ))),
        }
    }

    /// What Debian's metapackages call it.
    fn arch(self) -> &'static str {
        match self {
            Self::Stock => "amd64",
            Self::Cloud => "cloud-amd64",
        }
    }
}

/// What trixie-backports was found to offer.
#[derive(Clone)]
struct Offer {
    /// As `uname -r` says.
    release: String,
    /// The Debian version, which image, headers and source share.
    version: String,
    /// The package with the source's tarball.
    source: String,
    /// The packages with image and modules.
    image: Vec<String>,
}

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
            progress.step("Kernel packages", &packages.join(" "), &log, || {
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

    /// Forgets what was offered, so that the next run looks again.
    pub fn forget(cache: &Cache) -> Result<()> {
        for flavour in [Flavour::Stock, Flavour::Cloud] {
            let file = Offer::file(flavour, cache);
            if file.exists() {
                fs::remove_file(&file).context(file.display())?;
            }
        }
        Ok(())
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

impl Offer {
    fn file(flavour: Flavour, cache: &Cache) -> PathBuf {
        cache.path(&format!("kernel/offer-{}", flavour.arch()))
    }

    /// Reads what an earlier run found, or asks the mirror.
    fn find(flavour: Flavour, root: &Root, cache: &Cache, progress: &Progress) -> Result<Self> {
        let file = Self::file(flavour, cache);
        if let Some(offer) = fs::read_to_string(&file)
            .ok()
            .and_then(|text| Self::parse(&text))
        {
            return Ok(offer);
        }
        let log = cache.path("log/offer.log");
        tool::new_log(&log)?;
        let offer = progress.timed("Asking the mirror for its newest kernel", &log, || {
            Self::ask(flavour, root, &log)
        })?;
        files::write(&file, offer.to_text().as_bytes())?;
        Ok(offer)
    }

    fn ask(flavour: Flavour, root: &Root, log: &Path) -> Result<Self> {
        tool::run(&mut root.command(["apt-get", "update", "-q"]), log)?;
        let arch = flavour.arch();
        // The metapackage's dependencies that start with `prefix`.
        let depends = |package: &str, prefix: &str| -> Result<Vec<String>> {
            let text = tool::capture(&mut root.command(["apt-cache", "depends", package]), log)?;
            Ok(text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("Depends: "))
                .filter(|name| name.starts_with(prefix))
                .map(str::to_owned)
                .collect())
        };
        let versioned = |meta: &str, prefix: &str| -> Result<String> {
            let newest = depends(&format!("{meta}/{KERNEL_SUITE}"), prefix)?;
            newest
                .into_iter()
                .find(|name| name[prefix.len()..].starts_with(|c: char| c.is_ascii_digit()))
                .context(format!(
                    "{meta} in {KERNEL_SUITE} depends on no {prefix}VERSION"
                ))
        };
        let image = versioned(&format!("linux-image-{arch}"), "linux-image-")?;
        let release = image["linux-image-".len()..].to_owned();
        let headers = versioned(&format!("linux-headers-{arch}"), "linux-headers-")?;
        if headers["linux-headers-".len()..] != release {
            return Err(Error::new(format!(
                "{KERNEL_SUITE} is between two kernels: it offers {image} and {headers}. \
                 Try again in some hours"
            )));
        }
        let source = versioned("linux-source", "linux-source-")?;
        // The image's package carries its parts itself, or depends on packages that do.
        let mut parts = Vec::new();
        for prefix in ["linux-base-", "linux-binary-", "linux-modules-"] {
            parts.extend(depends(&image, prefix)?);
        }
        if parts.is_empty() {
            parts.push(image.clone());
        }
        let version_of = |package: &str| -> Result<String> {
            let mut show = root.command(["apt-cache", "show", "--no-all-versions", package]);
            let text = tool::capture(&mut show, log)?;
            text.lines()
                .find_map(|line| line.strip_prefix("Version: "))
                .map(str::to_owned)
                .context(format!("{package} has no version"))
        };
        let version = version_of(&headers)?;
        let source_version = version_of(&source)?;
        if source_version != version {
            return Err(Error::new(format!(
                "{KERNEL_SUITE} is between two kernels: {headers} is {version}, \
                 {source} is {source_version}. Try again in some hours"
            )));
        }
        Ok(Self {
            release,
            version,
            source,
            image: parts,
        })
    }

    fn to_text(&self) -> String {
        let image = self.image.join(" ");
        format!(
            "{}\n{}\n{}\n{image}\n",
            self.release, self.version, self.source
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::to_owned);
        Some(Self {
            release: lines.next()?,
            version: lines.next()?,
            source: lines.next()?,
            image: lines.next()?.split(' ').map(str::to_owned).collect(),
        })
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
