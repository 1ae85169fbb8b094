// SPDX-License-Identifier: GPL-2.0-only
//! Drops TLS handshakes with 1,000 names: what a ClientHello, whole in one segment, says in its
//! extension server_name.
#![no_std]
#![no_main]

use nf_wasm_bench_filters::sni;

nf_wasm_sdk::filter!(sni::decide);

#[unsafe(no_mangle)]
extern "C" fn nfw_init() -> i32 {
    sni::init()
}
