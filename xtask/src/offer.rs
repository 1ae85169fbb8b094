// SPDX-License-Identifier: GPL-2.0-only
//! Finds the current kernel of trixie-backports through its metapackages: the checkout names no
//! version.

use crate::error::{Context, Error, Result};
use crate::files::{self, Cache};
use crate::flavour::Flavour;
use crate::progress::Progress;
use crate::root::{Root, KERNEL_SUITE};
use crate::tool;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A kernel that trixie-backports offers.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// The release, as in `uname -r`.
    pub release: String,
    /// The Debian version of image, headers and source.
    pub version: String,
    /// The package with the tarball of the source.
    pub source: String,
    /// The packages with the image and the modules.
    pub image: Vec<String>,
}

impl Offer {
    fn file(flavour: Flavour, cache: &Cache) -> PathBuf {
        cache.path(&format!("kernel/offer-{}", flavour.arch()))
    }

    /// The upstream part of the version.
    pub fn upstream(&self) -> &str {
        self.version.split(['-', '~']).next().unwrap_or_default()
    }

    /// The release of a kernel of this flavour, as in `uname -r`.
    pub fn release_of(&self, flavour: Flavour) -> String {
        if flavour.is_own() {
            format!("{}{}", self.upstream(), flavour.local_version())
        } else {
            self.release.clone()
        }
    }

    /// Reads the result of an earlier run, or asks the mirror.
    pub fn find(flavour: Flavour, root: &Root, cache: &Cache, progress: &Progress) -> Result<Self> {
        match Self::known(flavour, cache) {
            Some(offer) => Ok(offer),
            None => Self::renew(flavour, root, cache, progress),
        }
    }

    /// Looks for newer kernels of the flavours that have been used.
    pub fn update(root: &Root, cache: &Cache, progress: &Progress) -> Result<()> {
        for flavour in Flavour::DEBIAN {
            if let Some(old) = Self::known(flavour, cache) {
                let new = Self::renew(flavour, root, cache, progress)?;
                progress.say(&match old == new {
                    true => format!("{} is still the newest", new.release),
                    false => format!("{} follows {}", new.release, old.release),
                });
            }
        }
        Ok(())
    }

    /// The result of an earlier run.
    fn known(flavour: Flavour, cache: &Cache) -> Option<Self> {
        Self::parse(&fs::read_to_string(Self::file(flavour, cache)).ok()?)
    }

    fn renew(flavour: Flavour, root: &Root, cache: &Cache, progress: &Progress) -> Result<Self> {
        let log = cache.path("log/offer.log");
        tool::new_log(&log)?;
        let offer = progress.timed("Asking the mirror for its newest kernel", &log, || {
            Self::ask(flavour, root, &log)
        })?;
        files::write(&Self::file(flavour, cache), offer.to_text().as_bytes())?;
        Ok(offer)
    }

    /// Removes kernels that are no longer offered.
    pub fn prune(cache: &Cache) -> Result<()> {
        let mut keep = BTreeSet::new();
        for flavour in Flavour::ALL {
            if let Some(offer) = Self::known(flavour, cache) {
                keep.insert(format!("source-{}", offer.version));
                keep.insert(offer.release_of(flavour));
            }
        }
        for entry in fs::read_dir(cache.path("kernel"))
            .context("kernel")?
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() && !keep.contains(&name) {
                files::remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    fn ask(flavour: Flavour, root: &Root, log: &Path) -> Result<Self> {
        tool::run(&mut root.command(["apt-get", "update", "-q"]), log)?;
        let arch = flavour.arch();
        // The dependencies of a metapackage that begin with `prefix`.
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
        // The image package contains everything, or depends on packages that do.
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
