// SPDX-License-Identifier: MIT OR Apache-2.0
//! The export that the host calls, `nfw_filter`.

use crate::{Context, Packet, Verdict};

/// Makes a `fn(&Packet) -> Verdict` the filter. Exports it as `nfw_filter`, and defines the panic
/// handler that `no_std` needs. A panic is the trap `unreachable`.
#[macro_export]
macro_rules! filter {
    ($decide:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn nfw_filter(
            context: *const $crate::Context,
            window: *const u8,
            len: usize,
        ) -> i32 {
            // SAFETY: Only the host calls this, with arguments as the guest interface defines them.
            unsafe { $crate::decide($decide, context, window, len) }
        }

        #[cfg(target_arch = "wasm32")]
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo) -> ! {
            core::arch::wasm32::unreachable()
        }
    };
}

/// Calls `decide` with the host's arguments.
///
/// # Safety
///
/// `context` points to a [`Context`] and `window` to `len` bytes; neither changes meanwhile.
#[inline]
pub unsafe fn decide(
    decide: impl FnOnce(&Packet<'_>) -> Verdict,
    context: *const Context,
    window: *const u8,
    len: usize,
) -> i32 {
    // SAFETY: By the contract of this function.
    let (context, window) = unsafe { (&*context, core::slice::from_raw_parts(window, len)) };
    decide(&Packet::new(context, window)) as i32
}
