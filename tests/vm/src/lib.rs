// SPDX-License-Identifier: GPL-2.0-only
//! Building blocks of the tests in the virtual machine and of the demo.
//!
//! - [`net`]: network namespaces joined by veth pairs
//! - [`audit`]: the kernel's audit log
//! - [`cgroup`]: a cgroup
//! - [`cpu`]: takes CPUs offline and online
//! - [`device`]: makes ioctls on `/dev/nf_wasm`
//! - [`filter`]: a loaded filter; [`wasm`]: filters in the text format
//! - [`traffic`]: TCP, UDP and raw frames
//! - [`fail_nth`]: lets allocations fail
//! - [`kernel`]: the kernel log, tracepoints, inserting and removing modules
//! - [`leaks`]: searches for leaks, if the kernel has kmemleak
//! - [`pins`]: avoids a fault that the emulator has when it runs code that was patched
//! - [`storm`]: many processes that change filters at once
//! - [`guest_test`]: runs Wasm modules in the kernel; [`spec`]: the WebAssembly specification's
//!   tests
//! - [`loader`]: runs `nfwasm`
//! - [`setting`]: changes settings of the kernel
//! - [`signed`]: a filter with signatures
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

/// The folder of the example filters.
pub const FILTERS: &str = "/usr/share/nf_wasm/filters";

/// The three versions of block-telnet. They must agree.
pub const BLOCK_TELNET: [&str; 3] = [
    "block-telnet.wasm",
    "block-telnet-c.wasm",
    "block-telnet.wat",
];

/// How long a test waits before it fails. Emulated machines are slow. A test that passes does not
/// wait this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` returns a value.
///
/// # Panics
///
/// After [`PATIENCE`].
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
