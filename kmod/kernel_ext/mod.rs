// SPDX-License-Identifier: GPL-2.0-only
//! Abstractions that the `kernel` crate lacks, written as if to be sent upstream.

pub(crate) mod bindings;
pub(crate) mod cpu;
pub(crate) mod grace_period;
pub(crate) mod hook_registration;
pub(crate) mod killable;
pub(crate) mod net;
pub(crate) mod racy;
