// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's fault injection: lets one chosen allocation of a thread fail, or every allocation
//! below a function.

use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// The calling thread's file.
const FAIL_NTH: &str = "/proc/thread-self/fail-nth";

/// Settings below debugfs, and their values. Allocations that may sleep fail too. Failures are not
/// logged.
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

/// The kinds of allocations that fail, if certain frames are on their stack.
const ATTRIBUTES: [&str; 2] = ["failslab", "fail_page_alloc"];

/// Fault injection for allocations with nf_wasm on their stack.
#[derive(Debug)]
pub struct Faults(());

impl Faults {
    /// Sets up fault injection for the inserted kernel module. Returns `None` if this kernel has
    /// none.
    ///
    /// # Panics
    ///
    /// If the kernel has fault injection, but refuses a setting.
    #[track_caller]
    pub fn set_up() -> Option<Self> {
        if !fs::exists(FAIL_NTH).unwrap_or(false) {
            return None;
        }
        set_up(module_text());
        Some(Self(()))
    }

    /// Calls `f` again and again: first its first allocation fails, then its second, until `f`
    /// makes fewer allocations. After its work, `f` may ask its argument whether an allocation
    /// failed. Returns the number of allocations that failed.
    ///
    /// # Panics
    ///
    /// If `f` panics, or the number of allocations seems unbounded.
    pub fn each(&self, mut f: impl FnMut(&Armed)) -> u32 {
        const MAX_ALLOCATIONS: u32 = 10_000;
        for n in 1..MAX_ALLOCATIONS {
            let armed = Armed::new(n);
            f(&armed);
            if !armed.over() {
                return n - 1;
            }
        }
        panic!("{MAX_ALLOCATIONS} allocations failed, and there may be more");
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        any_frame_counts();
    }
}

/// Lets allocations of every thread fail that have one function of the kernel on their stack. Ends
/// when it is dropped.
#[derive(Debug)]
pub struct FaultsBelow(());

impl FaultsBelow {
    /// Sets up fault injection below `function`. Returns `None` if this kernel has none.
    ///
    /// # Panics
    ///
    /// If the kernel has fault injection, but refuses a setting, or has no such function.
    #[track_caller]
    pub fn set_up(function: &str) -> Option<Self> {
        if !fs::exists(FAIL_NTH).unwrap_or(false) {
            return None;
        }
        set_up(text_of(function));
        set_all("task-filter", "N");
        set_all("times", "-1");
        set_all("interval", "1");
        set_all("probability", "100");
        Some(Self(()))
    }
}

impl Drop for FaultsBelow {
    fn drop(&mut self) {
        set_all("probability", "0");
        any_frame_counts();
    }
}

/// Lets this thread's nth allocation from now on fail.
#[derive(Debug)]
pub struct Armed {
    file: File,
    /// The result of [`Self::over`]. The kernel no longer tells after that call.
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

    /// Ends the fault injection. Returns whether an allocation failed.
    ///
    /// # Panics
    ///
    /// If the file cannot be read or written.
    pub fn over(&self) -> bool {
        if let Some(failed) = self.failed.get() {
            return failed;
        }
        let mut text = [0; 16];
        let len = self.file.read_at(&mut text, 0).expect(FAIL_NTH);
        self.file.write_at(b"0", 0).expect(FAIL_NTH);
        // The file has the remaining count: 0 after the failure.
        let failed = &text[..len] == b"0\n";
        self.failed.set(Some(failed));
        failed
    }
}

/// Restricts failures to stacks with a frame between the two addresses.
#[track_caller]
fn set_up((start, end): (u64, u64)) {
    for (file, value) in SETTINGS {
        set(file, value);
    }
    set_all("require-start", &start.to_string());
    set_all("require-end", &end.to_string());
}

fn any_frame_counts() {
    set_all("require-start", "0");
    set_all("require-end", &u64::MAX.to_string());
}

#[track_caller]
fn set_all(name: &str, value: &str) {
    for attribute in ATTRIBUTES {
        set(&format!("{attribute}/{name}"), value);
    }
}

#[track_caller]
fn set(file: &str, value: &str) {
    if let Err(error) = fs::write(format!("/sys/kernel/debug/{file}"), value) {
        panic!("{file}: {error}");
    }
}

/// Addresses of the kernel's functions, and the rest of their lines in `/proc/kallsyms`.
#[track_caller]
fn functions() -> Vec<(u64, String)> {
    let symbols = fs::read_to_string("/proc/kallsyms").expect("kallsyms");
    let functions = symbols.lines().filter_map(|line| {
        let (address, rest) = line.split_once(' ')?;
        let name = rest.strip_prefix(['t', 'T'])?.trim_start();
        Some((u64::from_str_radix(address, 16).ok()?, name.to_owned()))
    });
    functions.collect()
}

/// The address of a function, and that of the next one.
#[track_caller]
fn text_of(function: &str) -> (u64, u64) {
    let functions = functions();
    let is_it = |name: &str| name.split_whitespace().next() == Some(function);
    let Some((start, _)) = functions.iter().find(|(_, name)| is_it(name)) else {
        panic!("kallsyms does not show {function}");
    };
    let behind = functions.iter().map(|(address, _)| *address);
    let end = behind.filter(|address| address > start).min();
    (*start, end.expect("a function follows"))
}

/// The addresses of the kernel module's functions.
#[track_caller]
fn module_text() -> (u64, u64) {
    let functions = functions();
    let ours = functions
        .iter()
        .filter(|(_, name)| name.ends_with("[nf_wasm]"));
    let addresses: Vec<u64> = ours.map(|(address, _)| *address).collect();
    let (Some(first), Some(last)) = (addresses.iter().min(), addresses.iter().max()) else {
        panic!("kallsyms does not show nf_wasm");
    };
    // Add room for the last function's body.
    (*first, *last + 0x1000)
}
