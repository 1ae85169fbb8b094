// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the nf_wasm kernel module, its loader and its guests agree on.
//!
//! The files of this crate are compiled three times: here, for user space and guests; in the
//! engine; and by Kbuild into the kernel half, which includes them by path. They therefore use
//! nothing but `core`. `include/nf_wasm.h` says the same in C, and a test holds the two together.
#![no_std]
#![forbid(unsafe_code)]

pub mod capability;
pub mod guest;
pub mod guest_test;
pub mod ioctl;
pub mod limits;
pub mod request;
pub mod trap;
