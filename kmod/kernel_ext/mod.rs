// SPDX-License-Identifier: GPL-2.0-only
//! What the `kernel` crate lacks: its own kind of abstractions, for other parts of the kernel.

pub(crate) mod bindings;
pub(crate) mod cpu;
pub(crate) mod grace_period;
pub(crate) mod hook_registration;
pub(crate) mod killable;
pub(crate) mod net;
pub(crate) mod racy;
