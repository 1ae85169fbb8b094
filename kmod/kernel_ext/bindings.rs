// SPDX-License-Identifier: GPL-2.0-only
//! Bindings that the `kernel` crate lacks. bindgen generates them from the list in `Kbuild`.
#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    improper_ctypes,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

include!("bindings_generated.rs");
