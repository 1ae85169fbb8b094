// SPDX-License-Identifier: GPL-2.0-only
//! Copies ioctl arguments from and to user memory, and validates them.
//!
//! Nothing here needs the kernel, so it can be tested and fuzzed in user space.

use super::abi;

pub mod check;
pub mod exchange;
pub mod name;
pub mod plain;
pub mod wrong;
