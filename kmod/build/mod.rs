// SPDX-License-Identifier: GPL-2.0-only
//! How the engine builds instances: on threads, in regions of memory, on a caller's account.

pub(crate) mod allocator;
pub(crate) mod order;
pub(crate) mod owner;
pub(crate) mod pause;
pub(crate) mod region;
pub(crate) mod thread;
