// SPDX-License-Identifier: GPL-2.0-only
//! RCU grace periods that begin now and are waited for later, if they are not over by then.
//!
//! C header: `include/linux/rcupdate.h`

use kernel::bindings;

/// A grace period: when it is over, no reader is left of those that were under way when it began.
///
/// Several that began before the first of them is waited for cost one wait.
#[derive(Clone, Copy)]
pub(crate) struct GracePeriod(bindings::rcu_gp_seq);

impl GracePeriod {
    /// Begins now. It covers readers that may see what the caller has just unpublished.
    pub(crate) fn begin() -> Self {
        let mut begun = bindings::rcu_gp_seq::default();
        // SAFETY: `begun` is valid for writes. Any context may call this.
        unsafe { bindings::get_state_synchronize_rcu_full(&mut begun) };
        GracePeriod(begun)
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        let mut begun = self.0;
        // SAFETY: `begun` is a copy of what `get_state_synchronize_rcu_full` wrote. Any context may
        // call this.
        unsafe { bindings::poll_state_synchronize_rcu_full(&mut begun) }
    }

    /// Sleeps until it is over. The caller is no reader.
    pub(crate) fn wait(&self) {
        let mut begun = self.0;
        // SAFETY: `begun` is a copy of what `get_state_synchronize_rcu_full` wrote. Nothing in this
        // module waits inside of a read-side critical section; lockdep would say so.
        unsafe { bindings::cond_synchronize_rcu_full(&mut begun) };
    }
}
