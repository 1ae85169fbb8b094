// SPDX-License-Identifier: GPL-2.0-only
//! The build root: a Debian trixie tree, in which everything is built and QEMU runs.

use crate::error::{Context, Result};
use crate::files::{self, Cache};
use crate::progress::Progress;
use crate::{host, tool};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release whose compilers built the kernel that its backports suite serves.
const SUITE: &str = "trixie";
/// Where the kernel comes from.
pub const KERNEL_SUITE: &str = "trixie-backports";

/// What is installed beside the base system. The kernel's packages are only unpacked, elsewhere.
const PACKAGES: [&str; 41] = [
    // The kernel's tree, and modules in it.
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
    // Loader, tests, filters, fuzzers; kernels of our own.
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
    // The machine, and what runs in it.
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

/// Keeps dpkg from flushing every file and from unpacking what nobody reads here.
const DPKG_CONFIG: &str = "force-unsafe-io\n\
    path-exclude=/usr/share/doc/*\n\
    path-exclude=/usr/share/man/*\n\
    path-exclude=/usr/share/info/*\n\
    path-exclude=/usr/share/locale/*\n";

/// Raised when the way the root is made changes and an existing one will not do.
const RECIPE: u32 = 1;

/// Enters the root with what tools need mounted. It runs in a mount namespace of its own, so that
/// no mount outlives it, and in a process namespace, so that no process does.
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

/// A build root that is complete.
pub struct Root {
    dir: PathBuf,
    cache: PathBuf,
    checkout: PathBuf,
}

impl Root {
    /// Makes the root, if the cache has none.
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
        // debootstrap has written down the mirror that it used.
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

    /// Takes over what the host knows about the network: name servers and trusted authorities.
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

    /// A command that runs in the root. There, `/cache` is the cache folder and `/checkout` the
    /// checkout, where it starts. It takes the time that machines leave: their processors do badly
    /// where one waits for another that has none.
    pub fn command<I, S>(&self, words: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command_with_share(None, ["nice", "-n", "10"]);
        command.args(words);
        command
    }

    /// The same, with a folder of the host at `/share`, and no less time than others.
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

    /// A file of the root, as the host sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name.trim_start_matches('/'))
    }
}
