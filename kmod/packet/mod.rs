// SPDX-License-Identifier: GPL-2.0-only
//! A packet's way: hook, context, native code or engine, decision, verdict; counted, traced, dropped.

pub(crate) mod decider;
pub(crate) mod host_functions;
pub(crate) mod logger;
pub(crate) mod native;
