// SPDX-License-Identifier: GPL-2.0-only
//! Rate-limited log lines of a filter.

use kernel::bindings as kernel_bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

use crate::decode::name::Name;
use crate::kernel_ext::bindings;

/// Lines of the kernel's log that one filter may write in [`LOG_INTERVAL_SECONDS`].
const LOG_BURST: i32 = 10;
const LOG_INTERVAL_SECONDS: i32 = 5;

/// Who says something.
#[derive(Clone, Copy)]
pub(crate) struct Speaker {
    /// The filter's.
    pub(crate) name: Name,
    /// Whether it is in the network namespace that the machine booted with. The kernel's log is
    /// that one's; others are heard if its operator wants to, by `net.netfilter.nf_log_all_netns`.
    pub(crate) is_initial: bool,
}

/// A filter's voice in the kernel's log: who it is, and a limit to its rate.
#[pin_data]
pub(crate) struct Logger {
    speaker: Speaker,
    #[pin]
    limit: Opaque<kernel_bindings::ratelimit_state>,
}

// SAFETY: The limit has a lock of its own, which no thread holds for longer than a call; the
// speaker does not change.
unsafe impl Send for Logger {}
// SAFETY: `___ratelimit` may be called by any number of threads at once, in any context.
unsafe impl Sync for Logger {}

impl Logger {
    pub(crate) fn new(speaker: Speaker) -> impl PinInit<Self> {
        pin_init!(Logger {
            speaker,
            limit <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes, nobody else has it, and it is pinned, as the
                // lock in it wants.
                unsafe {
                    bindings::nf_wasm_ratelimit_init(slot, LOG_INTERVAL_SECONDS, LOG_BURST)
                }
            }),
        })
    }

    pub(crate) fn speaker(&self) -> &Speaker {
        &self.speaker
    }

    pub(crate) fn name(&self) -> &Name {
        &self.speaker.name
    }

    /// Takes one line off the limit, where the filter is heard at all.
    pub(crate) fn may_log(&self) -> bool {
        // SAFETY: Only reads a setting, in any context.
        if !self.speaker.is_initial && !unsafe { bindings::nf_wasm_log_all_namespaces() } {
            return false;
        }
        // SAFETY: `new` has initialised the limit, which is pinned; any context may call this. The
        // name is static, and ends with NUL.
        unsafe {
            kernel_bindings::___ratelimit(self.limit.get(), c"nf_wasm filter".as_char_ptr()) != 0
        }
    }
}
