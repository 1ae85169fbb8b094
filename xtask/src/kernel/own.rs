// SPDX-License-Identifier: GPL-2.0-only
//! Compiles small kernels with checks that a stock kernel lacks.

use super::{jobs, source, Kernel};
use crate::error::{Context, Error, Result};
use crate::files::{self, Cache, Lock};
use crate::offer::Offer;
use crate::progress::Progress;
use crate::root::Root;
use crate::tool;
use std::fs;
use std::path::Path;

/// The folder of the configurations: `common.config`, and one for each kernel.
const CONFIGURATIONS: &str = "qemu/kernel";
/// Flags that make rustc instrument code for KCSAN. Rust-for-Linux has none. These add LLVM's pass
/// and mark every function, as `-fsanitize=thread` does in C.
const DATA_RACES: [&str; 5] = [
    "-Cllvm-args=-force-attribute=sanitize_thread",
    "-Cpasses=function(tsan)",
    "-Cllvm-args=-tsan-distinguish-volatile=1",
    "-Cllvm-args=-tsan-compound-read-before-write=1",
    "-Cllvm-args=-tsan-instrument-func-entry-exit=0",
];
/// The certificate that these kernels trust, to test signed filters.
const CERTIFICATE: &str = "tests/signing/certificate.pem";

impl Kernel {
    /// Configures and compiles the kernel, with clang: KASAN with Rust needs it.
    pub(super) fn compile(
        &self,
        offer: &Offer,
        root: &Root,
        cache: &Cache,
        checkout: &Path,
        shared: Lock,
        progress: &Progress,
    ) -> Result<()> {
        let log = &self.log(cache);
        let source = source::make(offer, root, cache, progress, log)?;
        // The compilation is long. Only runs that need the same kernel must wait for it.
        drop(shared);
        let _own = cache.lock_kernel(&self.release)?;
        let fragment = |name: &str| {
            let path = checkout.join(CONFIGURATIONS).join(name);
            fs::read_to_string(&path).context(path.display())
        };
        let wanted =
            fragment("common.config")? + &fragment(&format!("{}.config", self.flavour.name()))?;
        let key = files::hash(&format!(
            "{} {} {wanted} {}",
            offer.version,
            root.path("usr/bin/rustc").display(),
            files::contents(checkout, &[CERTIFICATE])?
        ));
        files::once(&self.dir("build"), &key, || {
            let detail = "configuration, compilation (about 10 minutes on two processors)";
            progress.step("Kernel tree", detail, log, || {
                let make = |targets: &[&str]| {
                    let mut make = root.command(["make", "-C", &source, "LLVM=1"]);
                    make.args([
                        format!("O={}", self.inside("build")),
                        format!("-j{}", jobs()),
                    ]);
                    tool::run(make.args(targets), log)
                };
                make(&["tinyconfig"])?;
                let config = self.dir("build").join(".config");
                let tiny = fs::read_to_string(&config).context(config.display())?;
                let local = format!("CONFIG_LOCALVERSION=\"{}\"\n", self.flavour.local_version());
                files::write(&config, (tiny + &wanted + &local).as_bytes())?;
                make(&["olddefconfig"])?;
                let config = fs::read_to_string(&config).context(config.display())?;
                check_config(&wanted, &config)?;
                make(&["bzImage", "modules"])?;
                self.check_release()?;
                let image = self.dir("image");
                files::remove_tree(&image)?;
                let install = format!("INSTALL_MOD_PATH={}", self.inside("image"));
                make(&[&install, "modules_install"])?;
                files::copy(
                    &self.dir("build/arch/x86/boot/bzImage"),
                    &image.join("vmlinuz"),
                )
            })
        })
    }

    /// Flags for rustc that this kernel's Kbuild does not pass.
    pub fn extra_rust_flags(&self) -> Result<Option<String>> {
        let data_races = self.option("KCSAN")?.is_some();
        Ok(data_races.then(|| DATA_RACES.join(" ")))
    }
}

/// Checks that the configuration has every wanted option: Kconfig silently drops an option with an
/// unmet dependency.
fn check_config(wanted: &str, config: &str) -> Result<()> {
    let differs = |line: &&str| match line.strip_prefix("# ") {
        Some(unset) => match unset.strip_suffix(" is not set") {
            Some(name) => config.contains(&format!("\n{name}=")),
            None => false,
        },
        None => line.starts_with("CONFIG_") && !config.lines().any(|is| is == *line),
    };
    let lost: Vec<_> = wanted.lines().filter(differs).collect();
    if lost.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!(
        "the kernel's configuration lacks: {}",
        lost.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_options_are_found() {
        let config = "#\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\n";
        assert!(check_config("# Why.\nCONFIG_A=y\n# CONFIG_B is not set\n", config).is_ok());
        assert!(check_config("CONFIG_B=y\n", config).is_err());
        assert!(check_config("CONFIG_D=y\n", config).is_err());
        assert!(check_config("# CONFIG_C is not set\n", config).is_err());
    }
}
