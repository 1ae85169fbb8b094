// SPDX-License-Identifier: GPL-2.0-only
//! Rate-limited log lines of a filter.

use kernel::prelude::*;

use crate::decode::name::Name;
use crate::kernel_ext::net;
use crate::kernel_ext::rate_limit::RateLimit;

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
    limit: RateLimit,
}

impl Logger {
    pub(crate) fn new(speaker: Speaker) -> impl PinInit<Self> {
        pin_init!(Logger {
            speaker,
            limit <- RateLimit::new(LOG_BURST, LOG_INTERVAL_SECONDS),
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
        let is_heard = self.speaker.is_initial || net::log_all_namespaces();
        is_heard && self.limit.allows(c"nf_wasm filter")
    }
}
