// SPDX-License-Identifier: GPL-2.0-only
//! Makes the initramfs of a virtual machine, from several cpio archives.

use crate::error::{Context, Result};
use crate::files::{self, Cache};
use crate::kernel::Kernel;
use crate::progress::Progress;
use crate::root::Root;
use crate::tool;
use std::fs;
use std::path::{Path, PathBuf};

/// The archives of a virtual machine, without those that only one run needs.
pub struct Guest {
    /// The base: tools, libraries and Debian's modules. Then this checkout's products.
    pub archives: Vec<PathBuf>,
    /// Whether this kernel can mount a folder of the host.
    pub has_9p: bool,
}

/// This checkout's products.
pub struct Parts {
    /// nf_wasm.ko.
    pub module: PathBuf,
    /// Programs, for the PATH.
    pub programs: Vec<PathBuf>,
    /// The folder with the example filters.
    pub filters: PathBuf,
}

impl Guest {
    /// Assembles the guest for `kernel`.
    pub fn make(
        kernel: &Kernel,
        parts: &Parts,
        root: &Root,
        cache: &Cache,
        checkout: &Path,
        progress: &Progress,
    ) -> Result<Self> {
        let log = cache.path("log/guest.log");
        tool::new_log(&log)?;
        progress.step(
            "Guest image",
            "tools, modules, what was built",
            &log,
            || {
                // depmod sees this checkout's module in a tree that all checkouts share.
                let _lock = cache.lock()?;
                let base = make_base(kernel, root, checkout, &log)?;
                let own = make_own(kernel, parts, root, cache, checkout, &log)?;
                let modules = base.join("tree/lib/modules").join(&kernel.release);
                let has_9p = modules.join("kernel/fs/9p").exists();
                Ok(Self {
                    archives: vec![base.join("base.cpio"), own],
                    has_9p,
                })
            },
        )
    }
}

/// Makes the archive that is the same for all guests of this kernel. Returns its folder.
fn make_base(kernel: &Kernel, root: &Root, checkout: &Path, log: &Path) -> Result<PathBuf> {
    let dir = kernel.dir("guest");
    let recipe = files::contents(checkout, &["qemu/base.sh", "qemu/modules"])?;
    let key = files::hash(&format!("{recipe} {}", root.path("").display()));
    files::once(&dir, &key, || {
        let mut command = root.command(["sh", "/checkout/qemu/base.sh", &kernel.release]);
        command.args([kernel.inside("image"), kernel.inside("guest")]);
        tool::run(&mut command, log)
    })?;
    Ok(dir)
}

/// Makes the archive of this checkout's products.
fn make_own(
    kernel: &Kernel,
    parts: &Parts,
    root: &Root,
    cache: &Cache,
    checkout: &Path,
    log: &Path,
) -> Result<PathBuf> {
    let name = cache.of_checkout(&format!("guest-{}", kernel.release));
    let dir = cache.path(&name);
    let tree = dir.join("tree");
    files::remove_tree(&tree)?;
    files::copy(&checkout.join("qemu/init"), &tree.join("init"))?;
    for program in &parts.programs {
        let file = program.file_name().context(program.display())?;
        files::copy(program, &tree.join("usr/bin").join(file))?;
    }
    for filter in fs::read_dir(&parts.filters)
        .context(parts.filters.display())?
        .flatten()
    {
        if !filter.file_name().to_string_lossy().starts_with('.') {
            let to = tree
                .join("usr/share/nf_wasm/filters")
                .join(filter.file_name());
            files::copy(&filter.path(), &to)?;
        }
    }
    sign(&tree, &name, root, checkout, log)?;
    // depmod processes all modules together, so it runs in the tree of the base.
    let script = r#"
        set -e
        release=$1 base=$2 tree=$3 module=$4
        modules=lib/modules/$release
        mkdir -p "$base/$modules/extra" "$tree/usr/$modules/extra"
        cp "$module" "$base/$modules/extra/"
        depmod -b "$base" "$release"
        cp "$base/$modules"/modules.* "$tree/usr/$modules/"
        strip --strip-debug -o "$tree/usr/$modules/extra/nf_wasm.ko" "$module"
        for program in "$tree"/usr/bin/*; do
            [ ! -e "$program" ] || strip "$program"
        done
        cd "$tree"
        find . | cpio --quiet -o -H newc -R 0:0 > ../own.cpio"#;
    let module = parts
        .module
        .strip_prefix(&cache.dir)
        .context("nf_wasm.ko is not in the expected folder")?;
    let mut command = root.command(["sh", "-c", script, "sh", &kernel.release]);
    command.args([
        format!("{}/tree", kernel.inside("guest")),
        format!("/cache/{name}/tree"),
    ]);
    command.arg(Path::new("/cache").join(module));
    tool::run(&mut command, log)?;
    Ok(dir.join("own.cpio"))
}

/// Signs an example filter as docs/signed-filters.md describes, with the key that debug kernels
/// trust, and with a key that no kernel trusts.
fn sign(tree: &Path, name: &str, root: &Root, checkout: &Path, log: &Path) -> Result<()> {
    let to = tree.join("usr/share/nf_wasm/signed");
    fs::create_dir_all(&to).context(to.display())?;
    files::copy(
        &tree.join("usr/share/nf_wasm/filters/block-telnet.wasm"),
        &to.join("block-telnet.wasm"),
    )?;
    for file in ["key.pem", "certificate.pem"] {
        let from = checkout.join("tests/signing").join(file);
        files::copy(&from, &to.join(file))?;
    }
    let script = r#"
        set -e
        cd "$1"
        sign() {
            openssl cms -sign -binary -noattr -nocerts -outform DER -in block-telnet.wasm \
                -inkey "$1key.pem" -signer "$1certificate.pem" -out "$2"
        }
        openssl req -new -x509 -newkey rsa:2048 -nodes -subj /CN=stranger -days 2 \
            -keyout stranger-key.pem -out stranger-certificate.pem 2> /dev/null
        sign '' block-telnet.wasm.p7s
        sign stranger- stranger.p7s
        rm ./*.pem"#;
    let mut command = root.command(["sh", "-c", script, "sh"]);
    command.arg(format!("/cache/{name}/tree/usr/share/nf_wasm/signed"));
    tool::run(&mut command, log)
}
