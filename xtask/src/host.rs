// SPDX-License-Identifier: GPL-2.0-only
//! Checks for tools that the host lacks, installs them if possible, and finds the host's Debian
//! mirror.

use crate::error::{Error, Result};
use crate::tool;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The host's programs and files that are used, and their Debian packages.
const TOOLS: [(&str, &str); 6] = [
    ("debootstrap", "debootstrap"),
    (
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
    ),
    ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("chroot", "coreutils"),
];

/// Checks that the user is root.
pub fn require_root() -> Result<()> {
    if is_root() {
        return Ok(());
    }
    Err(Error::new(
        "The build root needs root (debootstrap, chroot, mounts of its own).\n\
         Run the same command again with: sudo -E env PATH=\"$PATH\" cargo xtask …",
    ))
}

/// Installs missing tools, if the host is a Debian system.
pub fn prepare(log: &Path) -> Result<()> {
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(file, _)| !is_there(file))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get update && apt-get install -y {}", missing.join(" "));
    if !Path::new("/etc/debian_version").exists() || !is_there("apt-get") {
        return Err(Error::new(format!(
            "Missing on this machine: {}. On Debian they come with: {by_hand}",
            missing.join(", ")
        )));
    }
    eprintln!(
        "Installing what is missing on this machine: {}",
        missing.join(" ")
    );
    let install = || {
        let mut install = Command::new("apt-get");
        install.env("DEBIAN_FRONTEND", "noninteractive");
        install
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(&missing);
        tool::run(&mut install, log)
    };
    // Fetch the package lists only if the installation fails: they may be missing or old.
    if install().is_ok() {
        return Ok(());
    }
    tool::run(Command::new("apt-get").args(["update", "-q"]), log)
        .and_then(|()| install())
        .map_err(|error| Error::new(format!("{error}\nBy hand: {by_hand}")))
}

/// The Debian mirror that this host uses. `None` if there is none.
pub fn mirror() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let field = |name: &str| {
        release.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix('=')?;
            Some(value.trim_matches('"').to_owned())
        })
    };
    if field("ID")? != "debian" {
        return None;
    }
    let mut suites = vec![
        "stable".to_owned(),
        "testing".to_owned(),
        "unstable".to_owned(),
    ];
    suites.push("sid".to_owned());
    suites.extend(field("VERSION_CODENAME"));
    let mut lists = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
        lists.extend(dir.flatten().map(|entry| entry.path()));
    }
    lists.iter().find_map(|list| {
        let text = fs::read_to_string(list).ok()?;
        match list.extension()?.to_str()? {
            "list" => mirror_of_lines(&text, &suites),
            "sources" => mirror_of_stanzas(&text, &suites),
            _ => None,
        }
    })
}

/// Parses lines of the form `deb [options] URI SUITE COMPONENT…`.
fn mirror_of_lines(text: &str, suites: &[String]) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.strip_prefix("deb ")?.trim();
        let line = match line.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => line,
        };
        let mut words = line.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        let fits = suites.iter().any(|known| known == suite) && words.any(|word| word == "main");
        (fits && is_web(uri)).then(|| uri.to_owned())
    })
}

/// Parses deb822: stanzas of `Field: values`.
fn mirror_of_stanzas(text: &str, suites: &[String]) -> Option<String> {
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.to_owned() + "\n")
        .collect();
    text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            let line = stanza.lines().find(|line| line.starts_with(name))?;
            Some(line[name.len()..].split_whitespace().collect::<Vec<_>>())
        };
        if field("Enabled:").map_or(false, |values| values == ["no"]) {
            return None;
        }
        let fits = field("Types:")?.contains(&"deb")
            && field("Components:")?.contains(&"main")
            && field("Suites:")?
                .iter()
                .any(|suite| suites.iter().any(|known| known == suite));
        let uri = *field("URIs:")?.first()?;
        (fits && is_web(uri)).then(|| uri.to_owned())
    })
}

fn is_web(uri: &str) -> bool {
    uri.starts_with("http://") || uri.starts_with("https://")
}

fn is_root() -> bool {
    extern "C" {
        fn geteuid() -> u32;
    }
    // SAFETY: geteuid() has no precondition and cannot fail.
    unsafe { geteuid() == 0 }
}

/// Whether a file (with a path) or a program (without) exists.
fn is_there(name: &str) -> bool {
    if name.starts_with('/') {
        return Path::new(name).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].iter().map(PathBuf::from))
        .any(|dir| dir.join(name).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites() -> Vec<String> {
        vec!["stable".to_owned(), "trixie".to_owned()]
    }

    #[test]
    fn one_line_sources() {
        let text = "# deb http://old.example/debian trixie main\n\
                    deb http://security.example/debian trixie-security main\n\
                    deb [signed-by=/a b=c] http://mirror.example/debian trixie main contrib\n";
        let found = mirror_of_lines(text, &suites());
        assert_eq!(found.as_deref(), Some("http://mirror.example/debian"));
    }

    #[test]
    fn stanza_sources() {
        let text =
            "Types: deb\nURIs: https://other.example/x\nSuites: nodistro\nComponents: main\n\n\
                    Types: deb deb-src\n# note\nURIs: http://mirror.example/debian\n\
                    Suites: trixie trixie-updates\nComponents: main\n";
        let found = mirror_of_stanzas(text, &suites());
        assert_eq!(found.as_deref(), Some("http://mirror.example/debian"));
    }

    #[test]
    fn foreign_sources_are_not_a_mirror() {
        assert_eq!(
            mirror_of_lines("deb http://x.example/ubuntu noble main\n", &suites()),
            None
        );
    }
}
