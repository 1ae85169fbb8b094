// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's fault injection: one chosen allocation of one thread fails.

use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// Of the thread that asks.
const FAIL_NTH: &str = "/proc/thread-self/fail-nth";

/// What is set below debugfs, and to what. Allocations that may wait fail too, and what fails is
/// not written to the log each time.
const SETTINGS: [(&str, &str); 8] = [
    ("failslab/ignore-gfp-wait", "N"),
    ("failslab/verbose", "0"),
    ("failslab/stacktrace-depth", "32"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-highmem", "N"),
    ("fail_page_alloc/min-order", "0"),
    ("fail_page_alloc/verbose", "0"),
    ("fail_page_alloc/stacktrace-depth", "32"),
];

/// The frames that count: those of nf_wasm.
const RANGES: [&str; 2] = ["failslab", "fail_page_alloc"];

/// Fault injection, set up for allocations that have nf_wasm on their stack.
#[derive(Debug)]
pub struct Faults(());

impl Faults {
    /// Sets it up, if this kernel has it, for the module as it is loaded now.
    ///
    /// # Panics
    ///
    /// If the kernel has it, and does not let itself be set up.
    #[track_caller]
    pub fn set_up() -> Option<Self> {
        if !fs::exists(FAIL_NTH).unwrap_or(false) {
            return None;
        }
        for (file, value) in SETTINGS {
            set(file, value);
        }
        let (start, end) = module_text();
        for attribute in RANGES {
            set(&format!("{attribute}/require-start"), &start.to_string());
            set(&format!("{attribute}/require-end"), &end.to_string());
        }
        Some(Self(()))
    }

    /// Calls `f` until none of the allocations that it makes is left to fail: first with the first
    /// of them failing, then with the second. `f` is told whether one did, when its work is done.
    /// Returns how many failed.
    ///
    /// # Panics
    ///
    /// If `f` does, or there is no end.
    pub fn each(&self, mut f: impl FnMut(&Armed)) -> u32 {
        const MOST: u32 = 10_000;
        for n in 1..MOST {
            let armed = Armed::new(n);
            f(&armed);
            if !armed.over() {
                return n - 1;
            }
        }
        panic!("{MOST} allocations failed, and there are more");
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        for attribute in RANGES {
            set(&format!("{attribute}/require-start"), "0");
            set(&format!("{attribute}/require-end"), &u64::MAX.to_string());
        }
    }
}

/// This thread's nth allocation from now on fails.
#[derive(Debug)]
pub struct Armed {
    file: File,
    /// Whether it has, once that was asked: the kernel tells only until it is disarmed.
    failed: Cell<Option<bool>>,
}

impl Armed {
    fn new(n: u32) -> Self {
        let file = File::options().read(true).write(true).open(FAIL_NTH);
        let file = file.expect(FAIL_NTH);
        file.write_at(n.to_string().as_bytes(), 0).expect(FAIL_NTH);
        Self {
            file,
            failed: Cell::new(None),
        }
    }

    /// Lets no more allocation fail. Says whether one has.
    ///
    /// # Panics
    ///
    /// If the kernel does not say.
    pub fn over(&self) -> bool {
        if let Some(failed) = self.failed.get() {
            return failed;
        }
        let mut text = [0; 16];
        let len = self.file.read_at(&mut text, 0).expect(FAIL_NTH);
        self.file.write_at(b"0", 0).expect(FAIL_NTH);
        // What is left to be counted: nothing, once it has failed.
        let failed = &text[..len] == b"0\n";
        self.failed.set(Some(failed));
        failed
    }
}

#[track_caller]
fn set(file: &str, value: &str) {
    if let Err(error) = fs::write(format!("/sys/kernel/debug/{file}"), value) {
        panic!("{file}: {error}");
    }
}

/// Where the module's functions are.
#[track_caller]
fn module_text() -> (u64, u64) {
    let symbols = fs::read_to_string("/proc/kallsyms").expect("kallsyms");
    let addresses = symbols.lines().filter(|line| line.ends_with("[nf_wasm]"));
    let addresses = addresses.filter_map(|line| {
        let (address, rest) = line.split_once(' ')?;
        let text = rest.starts_with(['t', 'T']);
        u64::from_str_radix(address, 16).ok().filter(|_| text)
    });
    let addresses: Vec<u64> = addresses.collect();
    let (Some(first), Some(last)) = (addresses.iter().min(), addresses.iter().max()) else {
        panic!("kallsyms does not show nf_wasm");
    };
    // The last one has a body too.
    (*first, *last + 0x1000)
}
