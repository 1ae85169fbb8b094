// SPDX-License-Identifier: GPL-2.0-only
//! What a filter adds to a packet's way, in instructions.
//!
//! A sender on loopback fills a socket that nobody reads; filters are attached at IPv4 output. The
//! numbers are virtual nanoseconds, which are instructions if, and only if, QEMU counts them:
//!
//! ```text
//! cargo xtask vm --accel tcg --cpus 1 --append mitigations=off \
//!     --qemu-arg -icount --qemu-arg shift=0,sleep=off -- nf-wasm-bench
//! ```

use std::net::{Ipv4Addr, UdpSocket};
use std::process::{exit, Command};
use std::time::Instant;

/// Sends until a figure has settled: caches of the allocator, the socket's buffer.
const WARM_UP: u32 = 20_000;
/// Sends that are measured at a time.
const ROUND: u32 = 2_000;
/// Bytes of payload.
const PAYLOAD: usize = 64;

/// What is measured: a name, and the filter's file.
const FILTERS: [(&str, &str); 4] = [
    ("accept-all", "accept-all.wat"),
    ("block-telnet, text", "block-telnet.wat"),
    ("block-telnet, Rust", "block-telnet.wasm"),
    ("block-telnet, C", "block-telnet-c.wasm"),
];

fn main() {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let to = receiver.local_addr().expect("an address");
    sender.connect(to).expect("connect");

    let base = settled(&sender);
    println!("{:<22} {:>12} {:>8}", "attached", "a send", "added");
    println!("{:<22} {base:>12}", "nothing");
    for (name, file) in FILTERS {
        let file = format!("/usr/share/nf_wasm/filters/{file}");
        nfwasm(&["load", &file, "--name", "bench", "--attach", "ipv4:output"]);
        let with = settled(&sender);
        nfwasm(&["unload", "bench"]);
        let without = settled(&sender);
        println!("{name:<22} {with:>12} {:>8}", with - without);
    }
}

/// Virtual nanoseconds a send, as the median of five rounds after a warm-up.
fn settled(sender: &UdpSocket) -> i64 {
    send(sender, WARM_UP);
    let mut rounds: Vec<i64> = (0..5)
        .map(|_| {
            let since = Instant::now();
            send(sender, ROUND);
            (since.elapsed().as_nanos() / u128::from(ROUND)) as i64
        })
        .collect();
    rounds.sort_unstable();
    rounds[rounds.len() / 2]
}

fn send(sender: &UdpSocket, times: u32) {
    for _ in 0..times {
        sender.send(&[0; PAYLOAD]).expect("send");
    }
}

/// Runs `nfwasm WORDS…`, whose output is not wanted.
fn nfwasm(words: &[&str]) {
    let output = Command::new("nfwasm").args(words).output().expect("nfwasm");
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        exit(1);
    }
}
