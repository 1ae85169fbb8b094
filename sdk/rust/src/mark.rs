// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capability `nfw.mark`.

mod import {
    #[link(wasm_import_module = "nfw.mark")]
    unsafe extern "C" {
        pub safe fn get() -> u32;
        pub safe fn set(mark: u32) -> i32;
    }
}

/// The packet's mark.
#[inline]
pub fn get() -> u32 {
    import::get()
}

/// Sets the packet's mark.
#[inline]
pub fn set(mark: u32) {
    import::set(mark);
}
