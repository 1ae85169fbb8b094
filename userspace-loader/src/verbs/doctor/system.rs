// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of the running system, by the files in /proc, /sys, /dev and /boot.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::{Check, ModuleFile};

/// Number of CAP_NET_ADMIN, which is its bit in `CapEff`.
const CAP_NET_ADMIN: u32 = 12;

/// The initial user namespace's inode has a fixed number, the kernel's `PROC_USER_INIT_INO`.
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";

/// The files of a running system.
pub(super) struct System<'a> {
    root: &'a Path,
    release: Option<String>,
}

impl<'a> System<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        let release = fs::read_to_string(root.join("proc/sys/kernel/osrelease")).ok();
        Self {
            root,
            release: release.map(|release| release.trim().to_owned()),
        }
    }

    /// The running kernel's release.
    pub(super) fn release(&self) -> Option<&str> {
        self.release.as_deref()
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.root.join("sys/module/nf_wasm").exists()
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    /// Checks that the kernel supports modules in Rust.
    pub(super) fn rust(&self) -> Check {
        const NAME: &str = "kernel with Rust";
        let Some(release) = &self.release else {
            return Check::unknown(NAME, "/proc is not mounted", None);
        };
        let Some((path, config)) = self.config(release) else {
            if self.is_loaded() {
                return Check::ok(NAME, format!("{release}; the module is loaded"));
            }
            let found = format!("{release}; its configuration is not installed");
            return Check::unknown(
                NAME,
                found,
                Some(format!(
                    "look for CONFIG_RUST=y in the configuration of {release}"
                )),
            );
        };
        if config.lines().any(|line| line == "CONFIG_RUST=y") {
            return Check::ok(NAME, format!("{release}, CONFIG_RUST=y"));
        }
        Check::problem(
            NAME,
            format!("{release}, without CONFIG_RUST ({})", path.display()),
            "boot a kernel with CONFIG_RUST=y; on Debian 13, the one of trixie-backports: \
             `apt install -t trixie-backports linux-image-amd64`",
        )
    }

    /// Reads the running kernel's configuration from the places that distributions use.
    fn config(&self, release: &str) -> Option<(PathBuf, String)> {
        let plain = [
            format!("boot/config-{release}"),
            format!("lib/modules/{release}/config"),
            format!("lib/modules/{release}/build/.config"),
        ];
        for path in plain {
            if let Some(config) = self.read(&path) {
                return Some((Path::new("/").join(path), config));
            }
        }
        let file = File::open(self.root.join("proc/config.gz")).ok()?;
        let mut config = String::new();
        GzDecoder::new(file).read_to_string(&mut config).ok()?;
        Some((PathBuf::from("/proc/config.gz"), config))
    }

    /// Checks whether the kernel accepts unsigned modules. `signed`: whether nf_wasm.ko is signed,
    /// if known.
    pub(super) fn signatures(&self, signed: Option<bool>, loaded: bool) -> Check {
        const NAME: &str = "module signatures";
        let enforced = self
            .read("sys/module/module/parameters/sig_enforce")
            .map(|text| text.trim() == "Y");
        // The active mode is in brackets: `none [integrity] confidentiality`.
        let lockdown = self
            .read("sys/kernel/security/lockdown")
            .map(|text| !text.contains("[none]"));
        let (why, otherwise) = match (enforced, lockdown) {
            (_, Some(true)) => (
                "the kernel is locked down and accepts only signed modules",
                "turn Secure Boot off, or boot without `lockdown=`",
            ),
            (Some(true), _) => (
                "the kernel accepts only signed modules",
                "boot without `module.sig_enforce`",
            ),
            (Some(false), _) => return Check::ok(NAME, "not required"),
            (None, _) => return Check::unknown(NAME, "the kernel does not report it", None),
        };
        if loaded {
            return Check::ok(NAME, format!("{why}; nf_wasm is loaded"));
        }
        let remedy = format!(
            "sign nf_wasm.ko with a key that the kernel trusts (`mokutil --import` enrols one), \
             or {otherwise}"
        );
        if signed == Some(true) {
            let found =
                format!("{why}; nf_wasm.ko is signed, but the kernel may not trust the key");
            return Check::unknown(NAME, found, Some(remedy));
        }
        Check::problem(NAME, why, remedy)
    }

    pub(super) fn loaded(&self, file: &ModuleFile) -> Check {
        const NAME: &str = "module loaded";
        if self.is_loaded() {
            let version = self.read("sys/module/nf_wasm/version");
            let version =
                version.map_or_else(String::new, |text| format!(", version {}", text.trim()));
            return Check::ok(NAME, format!("yes{version}"));
        }
        let remedy = match file {
            ModuleFile::Given { path, .. } => format!("`insmod {}`", path.display()),
            _ => "`modprobe nf_wasm`".to_owned(),
        };
        Check::problem(NAME, "no", remedy)
    }

    pub(super) fn device(&self, loaded: bool) -> Check {
        const NAME: &str = "/dev/nf_wasm";
        match fs::metadata(self.root.join("dev/nf_wasm")) {
            Ok(node) if node.file_type().is_char_device() => Check::ok(NAME, "present"),
            Ok(_) => Check::problem(
                NAME,
                "not a character device",
                "remove it, then load the module again",
            ),
            Err(_) if loaded => Check::problem(
                NAME,
                "missing, though the module is loaded",
                "mount a devtmpfs on /dev; in a container, pass the device in",
            ),
            Err(_) => Check::problem(NAME, "missing", "load the module, which creates it"),
        }
    }

    pub(super) fn net_admin(&self) -> Check {
        const NAME: &str = "CAP_NET_ADMIN";
        let status = self.read("proc/self/status");
        let effective = status
            .as_deref()
            .and_then(|status| status.lines().find_map(|line| line.strip_prefix("CapEff:")))
            .and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        match effective {
            None => Check::unknown(NAME, "/proc is not mounted", None),
            Some(set) if set & (1 << CAP_NET_ADMIN) != 0 => Check::ok(NAME, "yes"),
            Some(_) => Check::problem(
                NAME,
                "no",
                "run nfwasm as root (sudo); in a container, grant NET_ADMIN",
            ),
        }
    }

    /// Whether the kernel module was inserted with `user_namespaces=1`.
    fn accepts_user_namespaces(&self) -> bool {
        self.read("sys/module/nf_wasm/parameters/user_namespaces")
            .is_some_and(|value| value.trim() != "0")
    }

    pub(super) fn user_namespace(&self) -> Check {
        const NAME: &str = "user namespace";
        match fs::read_link(self.root.join("proc/self/ns/user")) {
            Err(_) => Check::unknown(NAME, "/proc is not mounted", None),
            Ok(link) if link.as_os_str() == INITIAL_USER_NAMESPACE => {
                Check::ok(NAME, "the initial one")
            }
            Ok(_) if self.accepts_user_namespaces() => {
                Check::ok(NAME, "not the initial one; the module accepts others")
            }
            Ok(_) => Check::problem(
                NAME,
                "not the initial one",
                "run nfwasm outside of the container (`nsenter --net` reaches its network), or \
                 insert the module with user_namespaces=1 after reading its threat model",
            ),
        }
    }
}
