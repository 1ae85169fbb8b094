// SPDX-License-Identifier: GPL-2.0-only
//! Drops UDP datagrams in which more than nine bytes in ten are equal. Needs a snaplen of 1,500.
#![no_std]
#![no_main]

use nf_wasm_bench_filters::histogram;

nf_wasm_sdk::filter!(histogram::decide);
