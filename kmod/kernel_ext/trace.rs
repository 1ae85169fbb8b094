// SPDX-License-Identifier: GPL-2.0-only
//! This module's trace events.
//!
//! The kernel crate's `declare_trace!` looks for a tracepoint among the kernel crate's own bindings, where
//! those of a module that is built outside of the kernel's tree are not.

use kernel::bindings as kernel_bindings;
use kernel::jump_label::static_branch_unlikely;
use kernel::prelude::*;

use crate::kernel_ext::bindings;
use crate::kernel_ext::skb::SkBuff;

/// What the event `nf_wasm_verdict` records of a decision, besides the packet's address.
pub(crate) use bindings::nf_wasm_trace as Verdict;

/// Whether the event `nf_wasm_verdict` is on. Costs one jump while it is off.
#[inline(always)]
pub(crate) fn is_verdict_wanted() -> bool {
    // SAFETY: It is a tracepoint of this module's, whose key is a static one.
    unsafe {
        static_branch_unlikely!(
            bindings::__tracepoint_nf_wasm_verdict,
            kernel_bindings::tracepoint,
            key
        )
    }
}

/// Records a decision, if somebody still wants it.
pub(crate) fn verdict(skb: &SkBuff, verdict: &Verdict) {
    // SAFETY: The packet's address is recorded as a number, and `verdict` is valid during the call.
    unsafe { bindings::nf_wasm_trace_verdict(skb.as_raw(), verdict) };
}

/// Records that an instance for the filter with this name comes to a stage of its making.
pub(crate) fn build(filter: &CStr, stage: u32) {
    // SAFETY: The name ends with NUL, and is valid during the call.
    unsafe { bindings::nf_wasm_trace_build(filter.as_char_ptr(), stage) };
}
