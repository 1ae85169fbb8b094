// SPDX-License-Identifier: GPL-2.0-only
//! Packets that the benchmarks send, and tables that their filters look them up in.
#![no_std]

#[cfg(feature = "packets")]
extern crate std;

#[cfg(feature = "packets")]
pub mod packets;
pub mod tables;
