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

/// What [`Mutex`] lacks. A queue of loads may be long, and who waits in it must not count as hung.
pub(crate) trait LockKillable<T> {
    /// Takes the mutex, or gives `EINTR` because the task is killed. Sleeps.
    fn lock_killable(&self) -> Result<MutexGuard<'_, T>>;
}

impl<T> LockKillable<T> for Mutex<T> {
    fn lock_killable(&self) -> Result<MutexGuard<'_, T>> {
        // The kernel's mutex stands first in the struct, which has C's layout.
        let raw = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: By the type the mutex is initialised; the C half changes it as `lock` would.
        to_result(unsafe { bindings::nf_wasm_mutex_lock_killable(raw) })?;
        // SAFETY: The mutex was just taken.
        Ok(unsafe { Guard::new(self, ()) })
    }
}
