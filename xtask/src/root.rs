// SPDX-License-Identifier: GPL-2.0-only
//! The build root: a Debian trixie tree in which everything is built and QEMU runs.

use crate::error::{Context, Result};
use crate::files::{self, Cache};
use crate::progress::Progress;
use crate::{host, tool};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Debian release whose compilers built the kernel in its backports.
const SUITE: &str = "trixie";
/// The suite of the kernel.
pub const KERNEL_SUITE: &str = "trixie-backports";

/// Packages beside the base system. The kernel's packages are only unpacked, in another folder.
const PACKAGES: [&str; 41] = [
    // For the kernel's tree, and modules in it.
    "bc",
    "bindgen",
    "bison",
    "flex",
    "gcc",
    "kmod",
    "libelf-dev",
    "libssl-dev",
    "make",
    "pahole",
    "patch",
    "python3",
    "rust-src",
    "rustc",
    "xz-utils",
    // For the loader, tests, filters, fuzz targets, and kernels that are compiled here.
    "cargo",
    "clang",
    "libc6-dev",
    "libbpf-dev",
    "libclang-dev",
    "libstd-rust-dev-wasm32",
    "g++",
    "lld",
    "llvm",
    "openssl",
    "pkg-config",
    "rust-clippy",
    "rustfmt",
    // For the machine, and programs in it.
    "bash",
    "bpftool",
    "busybox-static",
    "conntrack",
    "cpio",
    "ethtool",
    "iproute2",
    "ipset",
    "iptables",
    "iputils-ping",
    "nftables",
    "qemu-system-x86",
    "tcpdump",
];

/// Keeps dpkg from flushing every file, and from unpacking documentation.
const DPKG_CONFIG: &str = "force-unsafe-io\n\
    path-exclude=/usr/share/doc/*\n\
    path-exclude=/usr/share/man/*\n\
    path-exclude=/usr/share/info/*\n\
    path-exclude=/usr/share/locale/*\n";

/// The version of the recipe. Increased if existing roots must be made again.
const RECIPE: u32 = 1;

/// Enters the root with the mounts that tools need, in a new mount namespace and a new process
/// namespace: no mount and no process remains.
const ENTER: &str = r#"
set -e
root=$1 cache=$2 checkout=$3 share=$4
shift 4
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
mount --bind "$cache" "$root/cache"
mount --bind "$checkout" "$root/checkout"
[ -z "$share" ] || mount --bind "$share" "$root/share"
exec chroot "$root" "$@"
"#;

/// A complete build root.
pub struct Root {
    dir: PathBuf,
    cache: PathBuf,
    checkout: PathBuf,
}

impl Root {
    /// Makes the root, unless the cache has one.
    pub fn make(cache: &Cache, checkout: &Path, progress: &Progress) -> Result<Self> {
        host::require_root()?;
        let key = format!("{RECIPE} {SUITE} {DPKG_CONFIG} {PACKAGES:?}");
        let name = format!("root-{}", &files::hash(&key)[..8]);
        let root = Self {
            dir: cache.path(&name),
            cache: cache.dir.clone(),
            checkout: checkout.to_path_buf(),
        };
        if files::is_made(&root.dir, &key) {
            root.follow_host()?;
            return Ok(root);
        }
        let log = cache.path("log/root.log");
        tool::new_log(&log)?;
        host::prepare(&log)?;
        files::once(&root.dir, &key, || {
            progress.step("Base system", "debootstrap of Debian trixie", &log, || {
                root.bootstrap(&log)
            })?;
            let log = cache.path("log/packages.log");
            tool::new_log(&log)?;
            progress.step("Packages", "compilers, QEMU, network tools", &log, || {
                root.install(&log)
            })
        })?;
        Ok(root)
    }

    fn bootstrap(&self, log: &Path) -> Result<()> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["debootstrap", "--variant=minbase"]);
        command.args(["--include=ca-certificates", SUITE]);
        command.arg(&self.dir).args(host::mirror());
        tool::run(&mut command, log)?;
        for folder in ["cache", "checkout", "share"] {
            let folder = self.dir.join(folder);
            fs::create_dir_all(&folder).context(folder.display())?;
        }
        files::write(
            &self.dir.join("etc/dpkg/dpkg.cfg.d/nf_wasm"),
            DPKG_CONFIG.as_bytes(),
        )?;
        // debootstrap has written the mirror to this file.
        let sources = self.dir.join("etc/apt/sources.list");
        let base = fs::read_to_string(&sources).context(sources.display())?;
        let backports = base.replacen(&format!(" {SUITE} "), &format!(" {KERNEL_SUITE} "), 1);
        files::write(&sources, format!("{base}{backports}").as_bytes())?;
        self.follow_host()
    }

    fn install(&self, log: &Path) -> Result<()> {
        tool::run(&mut self.command(["apt-get", "update", "-q"]), log)?;
        let mut install = self.command(["apt-get", "install", "-y", "-q"]);
        install.arg("--no-install-recommends").args(PACKAGES);
        tool::run(&mut install, log)?;
        tool::run(&mut self.command(["apt-get", "clean"]), log)
    }

    /// Copies the host's network configuration: name servers and trusted certificates.
    fn follow_host(&self) -> Result<()> {
        for file in [
            "/etc/resolv.conf",
            "/etc/hosts",
            "/etc/ssl/certs/ca-certificates.crt",
        ] {
            if let Ok(content) = fs::read(file) {
                files::write(&self.dir.join(&file[1..]), &content)?;
            }
        }
        Ok(())
    }

    /// A command that runs in the root. `/cache` is the cache folder, and `/checkout` the checkout,
    /// where the command starts. It has a low priority: virtual machines are slow if one of their
    /// processors waits for another that the host does not run.
    pub fn command<I, S>(&self, words: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command_with_share(None, ["nice", "-n", "10"]);
        command.args(words);
        command
    }

    /// A command with the normal priority, and with a folder of the host at `/share`.
    pub fn command_with_share<I, S>(&self, share: Option<&Path>, words: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--propagation",
            "private",
        ]);
        command.args([
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            ENTER,
            "enter",
        ]);
        command.arg(&self.dir).arg(&self.cache).arg(&self.checkout);
        command.arg(share.map_or(OsStr::new(""), Path::as_os_str));
        command.args(["env", "--chdir=/checkout", tool::COMMAND_FOLLOWS]);
        command.args(words);
        command.env_clear();
        for (name, value) in std::env::vars_os() {
            let text = name.to_string_lossy().to_lowercase();
            if text.ends_with("_proxy") || text == "term" || text == "columns" {
                command.env(name, value);
            }
        }
        command
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("CARGO_HOME", "/cache/cargo");
        command
    }

    /// The path of a file of the root, as the host sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name.trim_start_matches('/'))
    }
}
