// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interfaces between the kernel module, loaders and guests: numbers, structs, limits.
//!
//! `include/nf_wasm.h` declares the ioctl interface for C. A test compares the two.

pub mod capability;
pub mod guest;
pub mod guest_test;
pub mod hook;
pub mod ioctl;
pub mod limits;
pub mod request;
pub mod trap;
