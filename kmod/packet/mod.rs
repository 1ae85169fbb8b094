// SPDX-License-Identifier: GPL-2.0-only
//! The packet path. Read it in this order: `hook.c`, `decider.rs`, [`crate::objects::program`],
//! `native.rs`, `context.c`.

pub(crate) mod decider;
pub(crate) mod host_functions;
pub(crate) mod logger;
pub(crate) mod native;
