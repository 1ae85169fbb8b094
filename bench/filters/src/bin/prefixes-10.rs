// SPDX-License-Identifier: GPL-2.0-only
//! Drops packets from the first 10 networks.
#![no_std]
#![no_main]

use nf_wasm_bench_filters::prefixes;
use nf_wasm_sdk::{filter, Packet, Verdict};

filter!(decide);

#[unsafe(no_mangle)]
extern "C" fn nfw_init() -> i32 {
    prefixes::fill(10);
    0
}

fn decide(packet: &Packet) -> Verdict {
    match packet.u32(12) {
        Some(source) if prefixes::contain(source) => Verdict::Drop,
        _ => Verdict::Accept,
    }
}
