// SPDX-License-Identifier: GPL-2.0-only
//! A kernel: its image and modules, and a tree to build nf_wasm against. Debian built it
//! ([`debian`]), or it is compiled here ([`own`]) from the same source ([`source`]).

mod debian;
mod own;
mod source;

use crate::error::{Context, Result};
use crate::files::{Cache, Lock};
use crate::flavour::Flavour;
use crate::offer::Offer;
use crate::progress::Progress;
use crate::root::Root;
use crate::tool;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

/// A kernel that can be booted and built against.
pub struct Kernel {
    pub flavour: Flavour,
    /// The release, as in `uname -r`.
    pub release: String,
    cache: PathBuf,
}

impl Kernel {
    /// Fetches and prepares a kernel, unless the cache has it. `shared` is the cache's lock. It is
    /// released before a long step that concerns only this kernel.
    pub fn make(
        flavour: Flavour,
        root: &Root,
        cache: &Cache,
        checkout: &Path,
        shared: Lock,
        progress: &Progress,
    ) -> Result<Self> {
        let offer = Offer::find(flavour, root, cache, progress)?;
        let kernel = Self {
            flavour,
            release: offer.release_of(flavour),
            cache: cache.dir.clone(),
        };
        progress.say(&format!(
            "Kernel {} (Debian {})",
            kernel.release, offer.version
        ));
        let log = kernel.log(cache);
        tool::new_log(&log)?;
        if flavour.is_own() {
            kernel.compile(&offer, root, cache, checkout, shared, progress)?;
        } else {
            kernel.fetch(&offer, root, cache, progress, &log)?;
        }
        Offer::prune(cache)?;
        Ok(kernel)
    }

    /// The log of commands for this kernel.
    fn log(&self, cache: &Cache) -> PathBuf {
        cache.path(&format!("log/kernel-{}.log", self.release))
    }

    /// The compiler of this kernel's configuration, as an argument for make.
    pub fn toolchain(&self) -> Result<String> {
        let compiler = self
            .option("CC_VERSION_TEXT")?
            .context("CONFIG_CC_VERSION_TEXT is not set")?;
        if self.option("CC_IS_CLANG")?.is_some() {
            return Ok("LLVM=1".to_owned());
        }
        let name = compiler.trim_matches('"').split(' ').next();
        Ok(format!("CC={}", name.unwrap_or_default()))
    }

    /// The value of `CONFIG_NAME`, if it is set.
    pub fn option(&self, name: &str) -> Result<Option<String>> {
        let config = self.dir("build").join(".config");
        let text = fs::read_to_string(&config).context(config.display())?;
        let value = text.lines().find_map(|line| {
            let line = line.strip_prefix("CONFIG_")?.strip_prefix(name)?;
            line.strip_prefix('=').map(str::to_owned)
        });
        Ok(value)
    }

    /// A folder of this kernel (`image`, `headers`, `build`), as the host sees it.
    pub fn dir(&self, part: &str) -> PathBuf {
        self.cache.join("kernel").join(&self.release).join(part)
    }

    /// The same folder, as the build root sees it.
    pub fn inside(&self, part: &str) -> String {
        format!("/cache/kernel/{}/{part}", self.release)
    }

    /// The compressed kernel image, as the build root sees it.
    pub fn vmlinuz(&self) -> String {
        self.inside("image/vmlinuz")
    }

    /// Checks that a configured tree has this kernel's release.
    fn check_release(&self) -> Result<()> {
        let made = self.dir("build/include/config/kernel.release");
        let made = fs::read_to_string(&made).context(made.display())?;
        if made.trim() != self.release {
            return Err(crate::error::Error::new(format!(
                "prepared {} instead of {}",
                made.trim(),
                self.release
            )));
        }
        Ok(())
    }
}

/// The number of parallel processes.
pub fn jobs() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
