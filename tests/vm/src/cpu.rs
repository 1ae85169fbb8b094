// SPDX-License-Identifier: GPL-2.0-only
//! Takes CPUs offline and back online.

use std::fs;
use std::path::PathBuf;

/// A CPU that is offline. Brought online when it is dropped.
#[derive(Debug)]
pub struct Offline(usize);

fn switch(cpu: usize) -> PathBuf {
    PathBuf::from(format!("/sys/devices/system/cpu/cpu{cpu}/online"))
}

impl Offline {
    /// Takes a CPU offline.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn take(cpu: usize) -> Self {
        if let Err(error) = fs::write(switch(cpu), "0") {
            panic!("CPU {cpu} does not go offline: {error}");
        }
        Self(cpu)
    }

    /// Brings the CPU online.
    pub fn bring_back(self) {
        drop(self);
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        let result = fs::write(switch(self.0), "1");
        if !std::thread::panicking() {
            result.expect("bring the CPU online");
        }
    }
}
