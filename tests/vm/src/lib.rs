// SPDX-License-Identifier: GPL-2.0-only
//! Building blocks of the tests in the virtual machine and of the demo.
//!
//! - [`net`]: network namespaces that are joined by veth and go with the test
//! - [`audit`]: the kernel's audit log
//! - [`cgroup`]: a cgroup that goes with the test
//! - [`cpu`]: CPUs that go and come
//! - [`device`]: `/dev/nf_wasm`, spoken to directly
//! - [`filter`]: a loaded filter, unloaded with the test; [`wasm`]: filters as text
//! - [`traffic`]: TCP, UDP and frames of any kind
//! - [`fail_nth`]: allocations that fail
//! - [`kernel`]: the kernel's log, its tracepoints, modules in and out
//! - [`leaks`]: what kmemleak, if the kernel has it, finds
//! - [`pins`]: keeps the emulator's trouble with changing code out of the tests
//! - [`storm`]: many processes at once
//! - [`guest_test`]: tests of the engine in the kernel; [`spec`]: the WebAssembly specification's
//! - [`loader`]: the command `nfwasm`
//! - [`setting`]: settings of the kernel's
//! - [`signed`]: a filter with signatures
//! - [`fuzz`]: filters and requests made from a seed
//! - [`sys`]: the system calls that no library wraps; all `unsafe` is there

pub mod audit;
pub mod cgroup;
pub mod cpu;
pub mod device;
pub mod fail_nth;
pub mod filter;
pub mod fuzz;
pub mod guest_test;
pub mod kernel;
pub mod leaks;
pub mod loader;
pub mod net;
pub mod pins;
pub mod setting;
pub mod signed;
pub mod spec;
pub mod storm;
pub mod sys;
pub mod traffic;
pub mod wasm;

use std::time::{Duration, Instant};

/// Where the example filters are.
pub const FILTERS: &str = "/usr/share/nf_wasm/filters";

/// The three filters that must agree.
pub const BLOCK_TELNET: [&str; 3] = [
    "block-telnet.wasm",
    "block-telnet-c.wasm",
    "block-telnet.wat",
];

/// How long anything may take before it counts as not happening. Emulated machines are slow;
/// nothing that passes waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` gives something.
///
/// # Panics
///
/// When [`PATIENCE`] is at its end.
#[track_caller]
pub fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(since.elapsed() < PATIENCE, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
