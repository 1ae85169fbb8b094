// SPDX-License-Identifier: GPL-2.0-only
//! The machine runs Debian's programs where Debian has them, no matter which program starts them.
//! Busybox's shell and a few of its applets prefer an applet to a program of the same name.

use std::env;
use std::fs;
use std::process::Command;

crate::tests![
    ip_is_debians_whoever_starts_it,
    an_applet_stands_only_for_what_debian_lacks,
    grep_knows_perls_expressions,
];

/// The commands that scripts use.
const DEBIANS: &str = "\
    awk cat chmod chroot cp cut date dd dmesg echo env expr find grep gzip head hostname id \
    insmod ip ln ls lsmod mkdir mkfifo mktemp modprobe mount mv nice nsenter od ping printf \
    readlink rm rmmod sed seq setsid sh sha256sum sleep sort stat stty tail tar tee test \
    timeout touch tr umount uname uniq unshare wc which xargs";

fn output(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ip_is_debians_whoever_starts_it() {
    for words in [
        &["ip", "-V"][..],
        &["sh", "-c", "ip -V"],
        &["bash", "-c", "ip -V"],
        &["timeout", "9", "ip", "-V"],
        &["timeout", "9", "sh", "-c", "ip -V"],
        &["env", "ip", "-V"],
        &["nice", "sh", "-c", "ip -V"],
        &["setsid", "--wait", "ip", "-V"],
        &["unshare", "--mount", "ip", "-V"],
        &["find", "/root", "-maxdepth", "0", "-exec", "ip", "-V", ";"],
        &["sh", "-c", "echo -V | xargs ip"],
    ] {
        let said = output(words);
        assert!(said.contains("iproute2"), "{words:?}: {said}");
    }
}

/// The file that PATH finds for a name.
fn program(name: &str) -> Option<String> {
    let path = env::var_os("PATH").expect("PATH");
    let file = env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.exists())?;
    let file = fs::canonicalize(file).expect("a program");
    Some(file.to_string_lossy().into_owned())
}

fn an_applet_stands_only_for_what_debian_lacks() {
    for name in DEBIANS.split_whitespace() {
        let program = program(name).unwrap_or_else(|| panic!("there is no {name}"));
        assert!(!program.ends_with("/busybox"), "{name} is busybox's");
    }
    // Each of these would start applets.
    for name in ["ash", "time", "openvt"] {
        assert_eq!(program(name), None);
    }
    // No applet in one folder of PATH hides a program in another.
    for applet in output(&["busybox", "--list"]).lines() {
        let path = env::var_os("PATH").expect("PATH");
        let found =
            env::split_paths(&path).filter_map(|dir| fs::canonicalize(dir.join(applet)).ok());
        let is_busybox = |file: &std::path::PathBuf| file.ends_with("busybox");
        let (applets, programs): (Vec<_>, Vec<_>) = found.partition(is_busybox);
        let alone = applets.is_empty() || programs.is_empty() || applet == "busybox";
        assert!(alone, "{applet}: {applets:?} and {programs:?}");
    }
}

fn grep_knows_perls_expressions() {
    assert_eq!(
        output(&["sh", "-c", r"echo nf_wasm | grep -oP '(?<=_)\w+'"]),
        "wasm\n"
    );
}
