// SPDX-License-Identifier: GPL-2.0-only
//! What the benchmarks' filters look up, and the packets that they are shown.
#![no_std]

#[cfg(feature = "packets")]
extern crate std;

#[cfg(feature = "packets")]
pub mod packets;
pub mod tables;
