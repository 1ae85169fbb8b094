// SPDX-License-Identifier: GPL-2.0-only
//! A filter with good and bad signatures.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// The folder of the filter and its signatures.
pub const SIGNED: &str = "/usr/share/nf_wasm/signed";

/// The name of the test's key in its certificate.
const KEY: &str = "nf_wasm test key";

/// A module and its signatures.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The Wasm module.
    pub wasm: Vec<u8>,
    /// Made with the key that debug kernels trust.
    pub signature: Vec<u8>,
    /// Made with a key that no kernel trusts.
    pub by_stranger: Vec<u8>,
}

/// block-telnet with its signatures.
///
/// # Panics
///
/// If the files cannot be read.
pub fn block_telnet() -> Signed {
    let read = |name: &str| fs::read(format!("{SIGNED}/{name}")).expect("the signed filter");
    Signed {
        wasm: read("block-telnet.wasm"),
        signature: read("block-telnet.wasm.p7s"),
        by_stranger: read("stranger.p7s"),
    }
}

/// Whether this kernel trusts the test's key.
///
/// # Panics
///
/// If /proc/keys cannot be read.
pub fn is_key_trusted() -> bool {
    let keys = fs::read_to_string("/proc/keys").expect("/proc/keys");
    keys.contains(KEY)
}

/// Formats bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("to a String");
    }
    text
}

/// The SHA-256 of bytes, by `sha256sum`.
///
/// # Panics
///
/// If it cannot be run.
pub fn sha256(bytes: &[u8]) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(bytes).expect("sha256sum");
    drop(stdin);
    let output = child.wait_with_output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .next()
        .expect("a digest")
        .to_owned()
}
