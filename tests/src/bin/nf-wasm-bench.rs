// SPDX-License-Identifier: GPL-2.0-only
//! What a filter adds to a packet's way, in instructions.
//!
//! A sender on loopback fills a socket that nobody reads; a filter is attached at IPv4 output, and
//! taken off again. The numbers, for one send, are virtual nanoseconds, which are instructions if, and only if, QEMU counts them:
//!
//! ```text
//! cargo xtask bench
//! ```

use std::net::{Ipv4Addr, UdpSocket};
use std::process::{exit, Command};
use std::time::Instant;

/// Sends before all else. In the first seconds after boot a send takes three times as long.
const SINCE_BOOT: u32 = 120_000;
/// Sends before each measurement: caches of the allocator, the socket's buffer.
const WARM_UP: u32 = 10_000;
/// Sends that are measured at a time.
const ROUND: u32 = 2_000;
/// Rounds after which it is given up.
const MOST_ROUNDS: u32 = 100;
/// What rounds that agree may differ by.
const TOLERANCE: i64 = 40;
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

    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => measure(&sender),
        ["profile", file] => be_profiled(&sender, file),
        _ => {
            eprintln!("nf-wasm-bench [profile FILTER]");
            exit(2);
        }
    }
}

/// Sends past a filter for ever, once all has settled, and says so after the kernel's symbols.
fn be_profiled(sender: &UdpSocket, file: &str) -> ! {
    send(sender, SINCE_BOOT);
    load(file);
    settled(sender);
    let symbols = std::fs::read_to_string("/proc/kallsyms").expect("symbols");
    println!("{symbols}READY");
    loop {
        send(sender, ROUND);
    }
}

/// Attaches a filter that comes with nf_wasm.
fn load(file: &str) {
    let file = format!("/usr/share/nf_wasm/filters/{file}");
    nfwasm(&["load", &file, "--name", "bench", "--attach", "ipv4:output"]);
}

fn measure(sender: &UdpSocket) {
    send(sender, SINCE_BOOT);
    println!(
        "{:<22} {:>8} {:>8} {:>8}",
        "attached", "with", "without", "added"
    );
    for (name, file) in FILTERS {
        load(file);
        let with = settled(sender);
        nfwasm(&["unload", "bench"]);
        let without = settled(sender);
        println!("{name:<22} {with:>8} {without:>8} {:>8}", with - without);
    }
}

/// Virtual nanoseconds a send, once that has settled: the median of five rounds in a row that
/// agree.
fn settled(sender: &UdpSocket) -> i64 {
    send(sender, WARM_UP);
    let mut rounds = Vec::new();
    for _ in 0..MOST_ROUNDS {
        let since = Instant::now();
        send(sender, ROUND);
        rounds.push((since.elapsed().as_nanos() / u128::from(ROUND)) as i64);
        if let Some(last) = rounds.last_chunk::<5>() {
            let mut last = *last;
            last.sort_unstable();
            if last[4] - last[0] <= TOLERANCE {
                return last[2];
            }
        }
    }
    eprintln!("the figures do not settle: {rounds:?}");
    exit(1);
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
