// SPDX-License-Identifier: GPL-2.0-only
//! What nf_wasm's kernel half makes of a request's bytes: copying structs in and out, and checking
//! what they say. It touches nothing of the kernel, so that it can be tested and fuzzed outside.
//!
//! The files are compiled twice: here, and by Kbuild into the kernel half, which includes them by
//! path (`kmod/decode.rs`). They therefore use nothing but `core`, and find each other by `super`.
#![no_std]

use nf_wasm_abi as abi;

pub mod check;
pub mod exchange;
pub mod name;
pub mod plain;
pub mod wrong;
