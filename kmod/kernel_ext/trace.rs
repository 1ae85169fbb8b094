// SPDX-License-Identifier: GPL-2.0-only
//! The kernel module's trace events.
//!
//! The kernel crate's `declare_trace!` looks up tracepoints in the kernel crate's own bindings,
//! which do not have those of an out-of-tree module.

use kernel::bindings as kernel_bindings;
use kernel::jump_label::static_branch_unlikely;
use kernel::prelude::*;

use crate::kernel_ext::bindings;
use crate::kernel_ext::skb::SkBuff;

/// The data that the event `nf_wasm_verdict` records about a decision, in addition to the packet's
/// address.
pub(crate) use bindings::nf_wasm_trace as Verdict;

/// Whether the event `nf_wasm_verdict` is enabled. Costs one jump while it is disabled.
#[inline(always)]
pub(crate) fn is_verdict_wanted() -> bool {
    // SAFETY: It is a tracepoint of this kernel module, and its key is a static key.
    unsafe {
        static_branch_unlikely!(
            bindings::__tracepoint_nf_wasm_verdict,
            kernel_bindings::tracepoint,
            key
        )
    }
}

/// Records a decision, if the event is still enabled.
pub(crate) fn verdict(skb: &SkBuff, verdict: &Verdict) {
    // SAFETY: The packet's address is recorded as a number, and `verdict` is valid during the call.
    unsafe { bindings::nf_wasm_trace_verdict(skb.as_raw(), verdict) };
}

/// Records that the build of an instance for the filter with this name enters a stage.
pub(crate) fn build(filter: &CStr, stage: u32) {
    // SAFETY: The name ends with NUL, and is valid during the call.
    unsafe { bindings::nf_wasm_trace_build(filter.as_char_ptr(), stage) };
}
