// SPDX-License-Identifier: GPL-2.0-only
//! The objects that commands make and packets use: namespaces, filters, programs, snapshots,
//! instances, slots, attachments.

pub(crate) mod attachment;
pub(crate) mod counters;
pub(crate) mod filter;
pub(crate) mod instance;
pub(crate) mod namespace;
pub(crate) mod native_code;
pub(crate) mod program;
pub(crate) mod programs;
mod reload;
pub(crate) mod slot;
pub(crate) mod snapshot;
pub(crate) mod tables;
