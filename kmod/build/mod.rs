// SPDX-License-Identifier: GPL-2.0-only
//! Building instances: the engine runs on a kernel thread, allocates from a region of memory, and acts for
//! whoever asked for the build.

pub(crate) mod allocator;
pub(crate) mod pause;
pub(crate) mod region;
pub(crate) mod requester;
pub(crate) mod thread;
