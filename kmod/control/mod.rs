// SPDX-License-Identifier: GPL-2.0-only
//! The control path: validates an ioctl's arguments, admits Wasm modules, changes objects, and
//! writes audit records.

pub(crate) mod admission;
pub(crate) mod audit;
pub(crate) mod command;
pub(crate) mod device;
pub(crate) mod guest_test;
pub(crate) mod refusal;
pub(crate) mod request;
pub(crate) mod run;
