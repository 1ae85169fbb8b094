// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests `doctor` on directories that imitate the files of a system.

mod fake;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use clap::Parser;
use fake::Fake;
use nfwasm::error::Error;
use nfwasm::output::Output;
use nfwasm::{Cli, Device};
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};
use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

const RELEASE: &str = "7.3.4+deb13-amd64";

/// A directory with the files that `doctor` reads.
struct System(TempDir);

impl System {
    /// A system whose only problem is that the kernel module is not loaded.
    fn new() -> Self {
        let system = Self(tempfile::tempdir().unwrap());
        system.write("proc/sys/kernel/osrelease", format!("{RELEASE}\n"));
        system.write("proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");
        system.link("proc/self/ns/user", "user:[4026531837]");
        system.write(&format!("boot/config-{RELEASE}"), "CONFIG_RUST=y\n");
        system.write("sys/module/module/parameters/sig_enforce", "N\n");
        system.write(
            "sys/kernel/security/lockdown",
            "[none] integrity confidentiality\n",
        );
        system.install(RELEASE, b"");
        system
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(to, path).unwrap();
    }

    /// Installs a kernel module that was built for `release`, with `tail` appended.
    fn install(&self, release: &str, tail: &[u8]) {
        let directory = format!("lib/modules/{RELEASE}");
        self.write(
            &format!("{directory}/modules.dep"),
            "kernel/x/x.ko: kernel/y.ko\nupdates/nf_wasm.ko:\n",
        );
        let mut module = module(release);
        module.extend_from_slice(tail);
        self.write(&format!("{directory}/updates/nf_wasm.ko"), module);
    }

    /// Runs `doctor`. Returns the exit code and the output.
    fn examine(&self, device: Option<Fake>) -> (u8, String) {
        let root = self.0.path().to_str().unwrap();
        examine(&["--root", root], device)
    }
}

fn module(release: &str) -> Vec<u8> {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let section = elf.add_section(vec![], b".modinfo".to_vec(), SectionKind::ReadOnlyData);
    let modinfo = format!("license=GPL\0vermagic={release} SMP preempt mod_unload \0");
    elf.append_section_data(section, modinfo.as_bytes(), 1);
    elf.write().unwrap()
}

fn examine(arguments: &[&str], device: Option<Fake>) -> (u8, String) {
    let words = ["nfwasm", "doctor"].iter().chain(arguments);
    let cli = Cli::try_parse_from(words).unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut out = Output::new(&mut stdout, cli.json, false);
    let open = || match &device {
        Some(fake) => Ok(Box::new(fake.clone()) as Box<dyn Device>),
        None => Err(Error::no_device("cannot open /dev/nf_wasm")),
    };
    let result = nfwasm::execute(&cli, &open, &mut out);
    let code = nfwasm::report(result, &mut out, &mut stderr);
    drop(out);
    assert!(stderr.is_empty());
    (code, String::from_utf8(stdout).unwrap())
}

#[test]
fn a_missing_module_is_a_problem() {
    let (code, text) = System::new().examine(None);
    assert_eq!(code, 1);
    assert_data_eq!(
        text,
        str![[r#"
CHECK              STATE    FOUND
kernel with Rust   ok       7.3.4+deb13-amd64, CONFIG_RUST=y
module file        ok       /lib/modules/7.3.4+deb13-amd64/updates/nf_wasm.ko, for 7.3.4+deb13-amd64
module signatures  ok       not required
module loaded      PROBLEM  no
/dev/nf_wasm       PROBLEM  missing
ioctl interface    unknown  the module is not loaded
CAP_NET_ADMIN      ok       yes
user namespace     ok       the initial one

module loaded: `modprobe nf_wasm`
/dev/nf_wasm: load the module, which creates it

"#]]
    );
}

#[test]
fn a_good_system_has_no_problem() {
    let system = System::new();
    system.write("sys/module/nf_wasm/version", "0.1.0\n");
    // Making a device node needs root; /dev/null is always there.
    system.link("dev/nf_wasm", "/dev/null");
    let (code, text) = system.examine(Some(Fake::default()));
    assert_data_eq!(
        text,
        str![[r#"
CHECK              STATE  FOUND
kernel with Rust   ok     7.3.4+deb13-amd64, CONFIG_RUST=y
module file        ok     /lib/modules/7.3.4+deb13-amd64/updates/nf_wasm.ko, for 7.3.4+deb13-amd64
module signatures  ok     not required
module loaded      ok     yes, version 0.1.0
/dev/nf_wasm       ok     present
ioctl interface    ok     version 1, same as nfwasm
CAP_NET_ADMIN      ok     yes
user namespace     ok     the initial one

"#]]
    );
    assert_eq!(code, 0);
}

#[test]
fn each_check_can_find_a_problem() {
    let system = System::new();
    system.write("proc/self/status", "CapEff:\t0000000000000000\n");
    system.link("proc/self/ns/user", "user:[4026532208]");
    system.write(
        &format!("boot/config-{RELEASE}"),
        "# CONFIG_RUST is not set\n",
    );
    system.write("sys/module/module/parameters/sig_enforce", "Y\n");
    system.install("6.12.0", b"");
    let (code, text) = system.examine(None);
    assert_eq!(code, 1);
    assert_data_eq!(
        text,
        str![[r#"
CHECK              STATE    FOUND
kernel with Rust   PROBLEM  7.3.4+deb13-amd64, without CONFIG_RUST (/boot/config-7.3.4+deb13-amd64)
module file        PROBLEM  /lib/modules/7.3.4+deb13-amd64/updates/nf_wasm.ko is for 6.12.0
module signatures  PROBLEM  the kernel accepts only signed modules
module loaded      PROBLEM  no
/dev/nf_wasm       PROBLEM  missing
ioctl interface    unknown  the module is not loaded
CAP_NET_ADMIN      PROBLEM  no
user namespace     PROBLEM  not the initial one

kernel with Rust: boot a kernel with CONFIG_RUST=y; on Debian 13, the one of trixie-backports: `apt install -t trixie-backports linux-image-amd64`
module file: build nf_wasm.ko for 7.3.4+deb13-amd64 (`cargo xtask build`) and install it under /lib/modules/7.3.4+deb13-amd64/updates, then run `depmod`
module signatures: sign nf_wasm.ko with a key that the kernel trusts (`mokutil --import` enrols one), or boot without `module.sig_enforce`
module loaded: `modprobe nf_wasm`
/dev/nf_wasm: load the module, which creates it
CAP_NET_ADMIN: run nfwasm as root (sudo); in a container, grant NET_ADMIN
user namespace: run nfwasm outside of the container (`nsenter --net` reaches its network), or insert the module with user_namespaces=1 after reading its threat model

"#]]
    );
}

#[test]
fn an_empty_system_has_unknown_checks() {
    let system = System(tempfile::tempdir().unwrap());
    let root = system.0.path().to_str().unwrap();
    let (code, text) = examine(&["--root", root, "--json"], None);
    assert_eq!(code, 1);
    assert_data_eq!(
        text,
        str![[r#"
{
  "schema": 1,
  "ok": false,
  "checks": [
    {
      "name": "kernel with Rust",
      "state": "unknown",
      "found": "/proc is not mounted",
      "remedy": null
    },
    {
      "name": "module file",
      "state": "problem",
      "found": "not installed",
      "remedy": "build nf_wasm.ko for the running kernel"
    },
    {
      "name": "module signatures",
      "state": "unknown",
      "found": "the kernel does not report it",
      "remedy": null
    },
    {
      "name": "module loaded",
      "state": "problem",
      "found": "no",
      "remedy": "`modprobe nf_wasm`"
    },
    {
      "name": "/dev/nf_wasm",
      "state": "problem",
      "found": "missing",
      "remedy": "load the module, which creates it"
    },
    {
      "name": "ioctl interface",
      "state": "unknown",
      "found": "the module is not loaded",
      "remedy": null
    },
    {
      "name": "CAP_NET_ADMIN",
      "state": "unknown",
      "found": "/proc is not mounted",
      "remedy": null
    },
    {
      "name": "user namespace",
      "state": "unknown",
      "found": "/proc is not mounted",
      "remedy": null
    }
  ]
}

"#]]
    );
}

#[test]
fn a_signed_module_under_lockdown_is_unknown() {
    let system = System::new();
    system.write(
        "sys/kernel/security/lockdown",
        "none [integrity] confidentiality\n",
    );
    let state = |system: &System| {
        let root = system.0.path().to_str().unwrap();
        let (_, json) = examine(&["--root", root, "--json"], None);
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        report["checks"][2]["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(&system), "problem");
    system.install(RELEASE, b"~Module signature appended~\n");
    assert_eq!(state(&system), "unknown");
}

#[test]
fn bad_module_files_are_described() {
    let found = |path: &Path| {
        let arguments = ["--json", "--module", path.to_str().unwrap()];
        let (_, json) = examine(&arguments, None);
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        report["checks"][1]["found"].as_str().unwrap().to_owned()
    };
    let system = System::new();
    system.write("no.ko", "text");
    assert!(found(&system.path("no.ko")).contains("is not an ELF file"));
    assert!(found(&system.path("missing.ko")).contains("cannot be read"));
    system.write("a.ko.xz", "\u{fd}7zXZ");
    assert!(found(&system.path("a.ko.xz")).contains("is compressed"));
}
