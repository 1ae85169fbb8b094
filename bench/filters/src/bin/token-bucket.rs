// SPDX-License-Identifier: GPL-2.0-only
//! Lets each source send 10,000 packets a second, and bursts of a thousand.
#![no_std]
#![no_main]

use nf_wasm_bench_filters::token_bucket;

nf_wasm_sdk::filter!(token_bucket::decide);
// The header.
nf_wasm_sdk::manifest!(snaplen = 64);
