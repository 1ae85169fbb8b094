// SPDX-License-Identifier: GPL-2.0-only
//! Searches for leaks with kmemleak.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

pub(crate) const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// kmemleak does not report younger objects.
const AGE: Duration = Duration::from_secs(6);

/// A kernel with kmemleak.
#[derive(Clone, Copy, Debug)]
pub struct Leaks(());

impl Leaks {
    /// Clears earlier leaks. Returns `None` if this kernel has no kmemleak.
    ///
    /// # Panics
    ///
    /// If kmemleak refuses a command.
    pub fn look() -> Option<Self> {
        if !Path::new(KMEMLEAK).exists() {
            return None;
        }
        // Stop the kernel's own scans, one every ten minutes: only this test scans.
        command("scan=off");
        command("scan");
        command("clear");
        Some(Self(()))
    }

    /// Scans for leaks.
    ///
    /// # Panics
    ///
    /// If anything leaked since [`Self::look`].
    pub fn assert_none(self) {
        sleep(AGE);
        // The first scan of an object only takes its checksum. An object that changes is in use.
        command("scan");
        command("scan");
        if found().is_empty() {
            return;
        }
        // A scan misses a pointer that is only in a register. A real leak is found again.
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
