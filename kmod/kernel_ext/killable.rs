// SPDX-License-Identifier: GPL-2.0-only
//! `mutex_lock_killable()`: a killed task stops waiting.
//!
//! C header: `include/linux/mutex.h`

use core::ptr;

use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::lock::Guard;
use kernel::sync::{Mutex, MutexGuard};

use crate::kernel_ext::bindings;

/// Adds `mutex_lock_killable()` to [`Mutex`]. A task may wait long in a queue of loads, and must
/// not count as hung.
pub(crate) trait LockKillable<T> {
    /// Locks the mutex. Returns `EINTR` if the task is killed before it gets the lock. Sleeps.
    fn lock_killable(&self) -> Result<MutexGuard<'_, T>>;
}

impl<T> LockKillable<T> for Mutex<T> {
    fn lock_killable(&self) -> Result<MutexGuard<'_, T>> {
        // The kernel's mutex is the first field of the struct, which is `repr(C)`.
        let raw = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: By the type the mutex is initialised; the C function locks it as `lock` would.
        to_result(unsafe { bindings::nf_wasm_mutex_lock_killable(raw) })?;
        // SAFETY: The mutex was just taken.
        Ok(unsafe { Guard::new(self, ()) })
    }
}
