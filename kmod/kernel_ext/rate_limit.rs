// SPDX-License-Identifier: GPL-2.0-only
//! Rate limits.
//!
//! C header: `include/linux/ratelimit.h`

use kernel::bindings as kernel_bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

use crate::kernel_ext::bindings;

/// A rate limit: `struct ratelimit_state`.
///
/// # Invariants
///
/// It is initialised.
#[pin_data]
pub(crate) struct RateLimit {
    #[pin]
    state: Opaque<kernel_bindings::ratelimit_state>,
}

// SAFETY: The state has its own lock, which no thread holds for longer than a call.
unsafe impl Send for RateLimit {}
// SAFETY: Any number of threads may call `___ratelimit()` at the same time, in any context.
unsafe impl Sync for RateLimit {}

impl RateLimit {
    /// Permits `burst` events in each interval of `seconds`.
    pub(crate) fn new(burst: i32, seconds: i32) -> impl PinInit<Self> {
        // INVARIANT: The C half initialises it.
        pin_init!(RateLimit {
            state <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes, no other code has it, and it is pinned, as
                // its lock requires.
                unsafe { bindings::nf_wasm_ratelimit_init(slot, seconds, burst) }
            }),
        })
    }

    /// Takes one event off the limit, if one is left. Otherwise returns false, and the kernel later
    /// logs the number of suppressed events under the name `what`. Any context.
    pub(crate) fn allows(&self, what: &'static CStr) -> bool {
        // SAFETY: By the invariant the state is initialised, and it is pinned. `what` is static,
        // and ends with NUL.
        unsafe { kernel_bindings::___ratelimit(self.state.get(), what.as_char_ptr()) != 0 }
    }
}
