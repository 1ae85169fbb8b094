// SPDX-License-Identifier: GPL-2.0-only
//! Panics, and allocations that fail without a way to report it. Both call the kernel half, which
//! ends the build thread. On the packet path it is a BUG.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use crate::boundary::nf_wasm_host_panic;

/// A text that is cut off if it is too long.
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

// `alloc` panics too if an allocation fails, with "memory allocation of … failed".
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut text = Text {
        bytes: [0; 256],
        len: 0,
    };
    // Infallible: text that does not fit is cut off.
    let _ = write!(text, "{info}");
    // SAFETY: `text` is valid for its length.
    unsafe { nf_wasm_host_panic(text.bytes.as_ptr(), text.len) }
}
