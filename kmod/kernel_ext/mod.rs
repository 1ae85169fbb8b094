// SPDX-License-Identifier: GPL-2.0-only
//! Abstractions that the `kernel` crate lacks, written in the style of that crate. Only this folder
//! calls C through bindings.

pub(crate) mod audit;
mod bindings;
pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod grace_period;
pub(crate) mod hook_registration;
pub(crate) mod hotplug;
pub(crate) mod integrity;
pub(crate) mod killable;
pub(crate) mod kthread;
pub(crate) mod memory;
pub(crate) mod net;
pub(crate) mod netdevice;
pub(crate) mod owner;
pub(crate) mod packet_call;
pub(crate) mod per_net;
pub(crate) mod racy;
pub(crate) mod rate_limit;
pub(crate) mod rcu_pointer;
pub(crate) mod skb;
pub(crate) mod trace;

use kernel::prelude::*;

/// Release of the kernel that the kernel module was built for.
pub(crate) fn built_for() -> &'static CStr {
    // SAFETY: A constant of the C half, which ends with NUL. It is unloaded with the kernel module,
    // as this code is.
    unsafe { CStr::from_char_ptr(core::ptr::addr_of!(bindings::nf_wasm_built_for).cast()) }
}
