// SPDX-License-Identifier: GPL-2.0-only
//! A cgroup (v2) that is removed when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::eventually;

const ROOT: &str = "/tmp/cgroup";

/// A cgroup with the memory controller. Dropping it takes it away: nobody may be in it then.
#[derive(Debug)]
pub struct Cgroup {
    name: &'static str,
    path: PathBuf,
}

impl Cgroup {
    /// Makes one. The hierarchy stays mounted.
    ///
    /// # Panics
    ///
    /// If the kernel has no memory cgroups, or one of that name is there.
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

    /// A program that is in it from its beginning.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        let enter = r#"echo $$ > "$0" && exec "$@""#;
        command.args(["-c", enter]);
        command.arg(self.path.join("cgroup.procs")).arg(program);
        command
    }

    /// Sets a file of the cgroup's.
    ///
    /// # Panics
    ///
    /// If the kernel does not take it.
    #[track_caller]
    pub fn set(&self, file: &str, value: &str) {
        fs::write(self.path.join(file), value).expect(file);
    }

    /// The number behind `key` in a file of lines of keys and numbers.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    pub fn number(&self, file: &str, key: &str) -> u64 {
        let text = fs::read_to_string(self.path.join(file)).expect(file);
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(name, _)| *name == key);
        let number = found.and_then(|(_, number)| number.parse().ok());
        number.unwrap_or_else(|| panic!("{file} has no {key}: {text}"))
    }

    /// Whether a thread that is called `name` is in it.
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
            // Who was in it may still be on the way out.
            eventually(self.name, || {
                (!self.path.exists() || fs::remove_dir(&self.path).is_ok()).then_some(())
            });
        }
    }
}
