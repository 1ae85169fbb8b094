// SPDX-License-Identifier: GPL-2.0-only
//! Panics, and allocations that failed where Rust has no way to say so: both end in the kernel
//! half, which ends the load's thread.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use crate::boundary::nf_wasm_host_panic;

/// Text that is cut off where it gets too long.
struct Text {
    bytes: [u8; 256],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

// `alloc`'s handler of failed allocations panics too, with "memory allocation of … failed".
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut text = Text {
        bytes: [0; 256],
        len: 0,
    };
    // Cutting off is the only thing that could go wrong.
    let _ = write!(text, "{info}");
    // SAFETY: `text` is valid for its length.
    unsafe { nf_wasm_host_panic(text.bytes.as_ptr(), text.len) }
}
