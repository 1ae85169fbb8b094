// SPDX-License-Identifier: GPL-2.0-only
//! Drops the flows on a list of 10,000.
#![no_std]
#![no_main]

use nf_wasm_bench_filters::blocklist;

nf_wasm_sdk::filter!(blocklist::decide);
// The IP header and the ports are enough.
nf_wasm_sdk::manifest!(snaplen = 64);

#[unsafe(no_mangle)]
extern "C" fn nfw_init() -> i32 {
    blocklist::init()
}
