// SPDX-License-Identifier: GPL-2.0-only
//! Drops packets from the first 10 networks of the benchmarks' table.
#![no_std]
#![no_main]

use nf_wasm_bench_filters::prefixes;

nf_wasm_sdk::filter!(prefixes::decide);
// The IP header is enough.
nf_wasm_sdk::manifest!(snaplen = 64);

#[unsafe(no_mangle)]
extern "C" fn nfw_init() -> i32 {
    prefixes::init(10)
}
