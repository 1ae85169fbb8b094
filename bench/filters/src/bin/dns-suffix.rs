// SPDX-License-Identifier: GPL-2.0-only
//! Drops DNS queries for 1,000 names and for their subdomains.
#![no_std]
#![no_main]

use nf_wasm_bench_filters::dns_suffix;

nf_wasm_sdk::filter!(dns_suffix::decide);

#[unsafe(no_mangle)]
extern "C" fn nfw_init() -> i32 {
    dns_suffix::init()
}
