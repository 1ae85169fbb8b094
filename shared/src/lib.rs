// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sources that are compiled twice: by cargo as this crate, and by Kbuild into the kernel half.
//!
//! The kernel half (`kmod/main.rs`) includes this file as its module `shared`. So the files only
//! use `core`, and refer to each other by `super::`. Kbuild passes `--cfg MODULE`.
//!
//! Filters and loaders of any license may use [`abi`]. The feature `kernel` adds the rest, which is
//! GPL-2.0-only.
#![cfg_attr(not(MODULE), no_std)]

pub mod abi;
#[cfg(any(feature = "kernel", MODULE))]
pub mod boundary;
#[cfg(any(feature = "kernel", MODULE))]
pub mod decode;
#[cfg(any(feature = "kernel", MODULE))]
pub mod machine;
