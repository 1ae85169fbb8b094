// SPDX-License-Identifier: GPL-2.0-only
//! Limits each source to 10,000 packets a second, with bursts of 1,000.
#![no_std]
#![no_main]

use nf_wasm_bench_filters::token_bucket;

nf_wasm_sdk::filter!(token_bucket::decide);
// The IP header is enough.
nf_wasm_sdk::manifest!(snaplen = 64);
