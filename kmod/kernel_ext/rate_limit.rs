// SPDX-License-Identifier: GPL-2.0-only
//! Rate limits.
//!
//! C header: `include/linux/ratelimit.h`

use kernel::bindings as kernel_bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

use crate::kernel_ext::bindings;

/// A limit to how often something happens: `struct ratelimit_state`.
///
/// # Invariants
///
/// It is initialised.
#[pin_data]
pub(crate) struct RateLimit {
    #[pin]
    state: Opaque<kernel_bindings::ratelimit_state>,
}

// SAFETY: The state has a lock of its own, which no thread holds for longer than a call.
unsafe impl Send for RateLimit {}
// SAFETY: `___ratelimit()` may be called by any number of threads at once, in any context.
unsafe impl Sync for RateLimit {}

impl RateLimit {
    /// Allows `burst` times in `seconds`.
    pub(crate) fn new(burst: i32, seconds: i32) -> impl PinInit<Self> {
        // INVARIANT: The C half initialises it.
        pin_init!(RateLimit {
            state <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes, nobody else has it, and it is pinned, as the
                // lock in it wants.
                unsafe { bindings::nf_wasm_ratelimit_init(slot, seconds, burst) }
            }),
        })
    }

    /// Takes one off the limit. Where there is none left, the kernel's log says later, by `what`,
    /// how many were suppressed. Any context.
    pub(crate) fn allows(&self, what: &'static CStr) -> bool {
        // SAFETY: By the invariant the state is initialised, and it is pinned. The text is static, and
        // ends with NUL.
        unsafe { kernel_bindings::___ratelimit(self.state.get(), what.as_char_ptr()) != 0 }
    }
}
