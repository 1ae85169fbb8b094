// SPDX-License-Identifier: GPL-2.0-only
//! Keeps the kernel from patching its own code while packets pass.
//!
//! Whether a netfilter hook is in use is a static key: the first attachment patches a jump into the
//! kernel's text, and the removal of the last one patches it out. About one in nine runs of these
//! tests ended in an `Oops: int3` at such a jump. The fault is probably in QEMU: when it emulates
//! each CPU in a thread of its own, a CPU may still hit the patch's temporary breakpoint after the
//! patch is complete. The same was reported for other patched jumps. These tests attach and detach
//! hundreds of times, so a chain of nftables in a namespace without packets keeps each hook in use.

use std::process::Command;

const NAMESPACE: &str = "nfw-pins";

const CHAINS: &str = "
    table inet pins {
        chain prerouting { type filter hook prerouting priority 0; }
        chain input { type filter hook input priority 0; }
        chain forward { type filter hook forward priority 0; }
        chain output { type filter hook output priority 0; }
        chain postrouting { type filter hook postrouting priority 0; }
    }
    table netdev pins {
        chain ingress { type filter hook ingress device pin priority 0; }
        chain egress { type filter hook egress device pin priority 0; }
    }";

/// Keeps all hooks in use until it is dropped.
#[derive(Debug)]
pub struct Pins(());

impl Pins {
    /// Adds the chains.
    ///
    /// # Panics
    ///
    /// If a command fails.
    pub fn put() -> Self {
        run(&["ip", "netns", "add", NAMESPACE]);
        let pins = Self(());
        run(&["ip", "-n", NAMESPACE, "link", "add", "pin", "type", "dummy"]);
        run(&["ip", "netns", "exec", NAMESPACE, "nft", CHAINS]);
        pins
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        run(&["ip", "netns", "delete", NAMESPACE]);
    }
}

fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(output.status.success(), "{words:?}: {output:?}");
}
