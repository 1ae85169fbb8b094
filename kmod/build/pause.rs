// SPDX-License-Identifier: GPL-2.0-only
//! Yields of a long build: lets other tasks run, and tells the build whether its caller was killed.

use crate::build::thread;
use crate::kernel_ext::kthread;

/// See [`crate::boundary::nf_wasm_host_pause`].
#[no_mangle]
extern "C" fn nf_wasm_host_pause() -> bool {
    // SAFETY: The engine calls this only on a build thread, which is in process context, holds no
    // lock and may sleep.
    unsafe { kthread::cond_resched() };
    thread::is_wanted()
}
