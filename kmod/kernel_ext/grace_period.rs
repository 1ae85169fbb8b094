// SPDX-License-Identifier: GPL-2.0-only
//! Cookies of RCU grace periods. A cookie stands for a full grace period from now on, and does not
//! start one. A later wait returns at once if that grace period is over by then.
//!
//! C header: `include/linux/rcupdate.h`

use kernel::bindings;

/// A grace period. When it is over, all readers that existed when it began have finished.
///
/// Waiting for several, all of which began before the first wait, takes only one wait.
#[derive(Clone, Copy)]
pub(crate) struct GracePeriod(bindings::rcu_gp_seq);

impl GracePeriod {
    /// Begins now. Covers readers of any data that the caller has unpublished before.
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

    /// Sleeps until it is over. Must not be called in a read-side critical section.
    pub(crate) fn wait(&self) {
        let mut begun = self.0;
        // SAFETY: `begun` is a copy of what `get_state_synchronize_rcu_full` wrote. Nothing in this
        // kernel module waits in a read-side critical section; lockdep checks that.
        unsafe { bindings::cond_synchronize_rcu_full(&mut begun) };
    }
}
