// SPDX-License-Identifier: GPL-2.0-only
//! Rate-limited log lines of a filter.

use kernel::prelude::*;

use crate::decode::name::Name;
use crate::kernel_ext::net;
use crate::kernel_ext::rate_limit::RateLimit;

/// Lines that one filter may write to the kernel's log in [`LOG_INTERVAL_SECONDS`].
const LOG_BURST: i32 = 10;
const LOG_INTERVAL_SECONDS: i32 = 5;

/// The filter that writes log lines.
#[derive(Clone, Copy)]
pub(crate) struct Speaker {
    /// The filter's name.
    pub(crate) name: Name,
    /// Whether it is in the initial network namespace. The kernel's log shows lines of other
    /// namespaces only if the sysctl `net.netfilter.nf_log_all_netns` is set.
    pub(crate) is_initial: bool,
}

/// A filter's access to the kernel's log, with a rate limit.
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

    /// Takes one line off the rate limit, if the kernel's log shows the filter's lines at all.
    pub(crate) fn may_log(&self) -> bool {
        let is_heard = self.speaker.is_initial || net::log_all_namespaces();
        is_heard && self.limit.allows(c"nf_wasm filter")
    }
}
