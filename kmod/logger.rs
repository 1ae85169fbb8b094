// SPDX-License-Identifier: GPL-2.0-only
//! A filter's voice in the kernel's log.

use kernel::bindings as kernel_bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

use crate::bindings;
use crate::decode::name::Name;

/// Lines of the kernel's log that one filter may write in [`LOG_INTERVAL_SECONDS`].
const LOG_BURST: i32 = 10;
const LOG_INTERVAL_SECONDS: i32 = 5;

/// A filter's voice in the kernel's log: its name, and a limit to its rate.
#[pin_data]
pub(crate) struct Logger {
    name: Name,
    #[pin]
    limit: Opaque<kernel_bindings::ratelimit_state>,
}

// SAFETY: `___ratelimit` may be called from anywhere at any time; the name does not change.
unsafe impl Send for Logger {}
// SAFETY: As above.
unsafe impl Sync for Logger {}

impl Logger {
    pub(crate) fn new(name: Name) -> impl PinInit<Self> {
        pin_init!(Logger {
            name,
            limit <- Opaque::ffi_init(|slot| {
                // SAFETY: The slot is ours, and pinned.
                unsafe {
                    bindings::nf_wasm_ratelimit_init(slot, LOG_INTERVAL_SECONDS, LOG_BURST)
                }
            }),
        })
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// Takes one line off the limit.
    pub(crate) fn may_log(&self) -> bool {
        // SAFETY: The state was initialised, and does not move.
        unsafe {
            kernel_bindings::___ratelimit(self.limit.get(), c"nf_wasm filter".as_char_ptr()) != 0
        }
    }
}
