// SPDX-License-Identifier: GPL-2.0-only
//! Builds instances. The engine runs on a kernel thread, allocates from a region, and acts on
//! behalf of the build's requester.

pub(crate) mod allocator;
pub(crate) mod pause;
pub(crate) mod region;
pub(crate) mod requester;
pub(crate) mod thread;
