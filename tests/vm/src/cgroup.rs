// SPDX-License-Identifier: GPL-2.0-only
//! A cgroup (v2) that is removed when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::eventually;

const ROOT: &str = "/tmp/cgroup";

/// A cgroup with the memory controller. Removed when it is dropped: it must be empty then.
#[derive(Debug)]
pub struct Cgroup {
    name: &'static str,
    path: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup. Leaves the hierarchy mounted.
    ///
    /// # Panics
    ///
    /// If the kernel has no memory cgroups, or the name exists.
    #[track_caller]
    pub fn new(name: &'static str) -> Self {
        let root = Path::new(ROOT);
        if !root.join("cgroup.procs").exists() {
            fs::create_dir_all(root).expect(ROOT);
            let mount = Command::new("mount")
                .args(["-t", "cgroup2", "none", ROOT])
                .status();
            assert!(mount.expect("mount").success(), "no cgroup2");
        }
        fs::write(root.join("cgroup.subtree_control"), "+memory").expect("+memory");
        let path = root.join(name);
        fs::create_dir(&path).expect(name);
        Self { name, path }
    }

    /// A command that starts in the cgroup.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        let enter = r#"echo $$ > "$0" && exec "$@""#;
        command.args(["-c", enter]);
        command.arg(self.path.join("cgroup.procs")).arg(program);
        command
    }

    /// Writes a file of the cgroup.
    ///
    /// # Panics
    ///
    /// If the kernel refuses the value.
    #[track_caller]
    pub fn set(&self, file: &str, value: &str) {
        fs::write(self.path.join(file), value).expect(file);
    }

    /// Reads the number after `key` from a file whose lines are keys and numbers.
    ///
    /// # Panics
    ///
    /// If there is no such key.
    #[track_caller]
    pub fn number(&self, file: &str, key: &str) -> u64 {
        let text = fs::read_to_string(self.path.join(file)).expect(file);
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(name, _)| *name == key);
        let number = found.and_then(|(_, number)| number.parse().ok());
        number.unwrap_or_else(|| panic!("{file} has no {key}: {text}"))
    }

    /// Whether a thread with the name `name` is in the cgroup.
    pub fn has_thread(&self, name: &str) -> bool {
        let pids = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        pids.lines().any(|pid| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm.trim_end() == name)
        })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
        if !std::thread::panicking() {
            // A process of the cgroup may still be exiting.
            eventually(self.name, || {
                (!self.path.exists() || fs::remove_dir(&self.path).is_ok()).then_some(())
            });
        }
    }
}
