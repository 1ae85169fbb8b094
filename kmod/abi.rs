// SPDX-License-Identifier: GPL-2.0-only
//! The ABI of ioctls and guests: the files of the `abi` crate, included as they are.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the files are a crate elsewhere, and the kernel needs a part of it"
)]

#[path = "../abi/src/capability.rs"]
pub(crate) mod capability;
#[path = "../abi/src/guest.rs"]
pub(crate) mod guest;
#[path = "../abi/src/guest_test.rs"]
pub(crate) mod guest_test;
#[path = "../abi/src/ioctl.rs"]
pub(crate) mod ioctl;
#[path = "../abi/src/limits.rs"]
pub(crate) mod limits;
#[path = "../abi/src/trap.rs"]
pub(crate) mod trap;
