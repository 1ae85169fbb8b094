// SPDX-License-Identifier: GPL-2.0-only
//! Commands: from an ioctl's argument, checked and admitted, to a change of objects, and audited.

pub(crate) mod admission;
pub(crate) mod audit;
pub(crate) mod command;
pub(crate) mod device;
pub(crate) mod guest_test;
pub(crate) mod refusal;
pub(crate) mod request;
pub(crate) mod run;
