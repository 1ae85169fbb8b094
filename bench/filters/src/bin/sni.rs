// SPDX-License-Identifier: GPL-2.0-only
//! Drops TLS handshakes for 1,000 names. Reads the server_name extension of a ClientHello that fits
//! into one segment.
#![no_std]
#![no_main]

use nf_wasm_bench_filters::sni;

nf_wasm_sdk::filter!(sni::decide);

#[unsafe(no_mangle)]
extern "C" fn nfw_init() -> i32 {
    sni::init()
}
