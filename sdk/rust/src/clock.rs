// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capability `nfw.clock`.

mod import {
    #[link(wasm_import_module = "nfw.clock")]
    unsafe extern "C" {
        pub safe fn monotonic() -> u64;
        pub safe fn realtime() -> u64;
    }
}

/// Nanoseconds since some moment before boot ended.
#[inline]
pub fn monotonic() -> u64 {
    import::monotonic()
}

/// Nanoseconds since 1970-01-01 00:00 UTC.
#[inline]
pub fn realtime() -> u64 {
    import::realtime()
}
