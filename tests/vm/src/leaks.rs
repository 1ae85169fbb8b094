// SPDX-License-Identifier: GPL-2.0-only
//! Asks kmemleak for leaks.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

pub(crate) const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// kmemleak takes no younger object for a leak.
const AGE: Duration = Duration::from_secs(6);

/// A kernel that looks for leaks.
#[derive(Clone, Copy, Debug)]
pub struct Leaks(());

impl Leaks {
    /// None if this kernel does not. What leaked before is forgotten.
    ///
    /// # Panics
    ///
    /// If kmemleak takes no commands.
    pub fn look() -> Option<Self> {
        if !Path::new(KMEMLEAK).exists() {
            return None;
        }
        // Its thread scans every ten minutes: the scans are to be ours.
        command("scan=off");
        command("scan");
        command("clear");
        Some(Self(()))
    }

    /// Scans.
    ///
    /// # Panics
    ///
    /// If anything leaked since the last time.
    pub fn assert_none(self) {
        sleep(AGE);
        // The first scan of an object only takes its checksum: one that changes is in use.
        command("scan");
        command("scan");
        if found().is_empty() {
            return;
        }
        // A pointer that is in a register during a scan is not seen: what is lost stays lost.
        command("scan");
        let found = found();
        command("clear");
        assert!(found.is_empty(), "memory leaked:\n{found}");
    }
}

fn command(word: &str) {
    if let Err(error) = fs::write(KMEMLEAK, word) {
        panic!("kmemleak, {word}: {error}");
    }
}

fn found() -> String {
    fs::read_to_string(KMEMLEAK).expect("kmemleak's findings")
}
