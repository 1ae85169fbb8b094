// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manifest: a filter's default settings, in its Wasm module.

/// Declares the number of bytes of a packet that the filter reads, from the network header on. No
/// more are copied into the window, unless the operator sets another snaplen.
///
/// ```ignore
/// nf_wasm_sdk::manifest!(snaplen = 64);
/// ```
#[macro_export]
macro_rules! manifest {
    (snaplen = $bytes:literal) => {
        const _: () = {
            const TEXT: &str = concat!("{\"snaplen\": ", $bytes, "}");

            #[cfg_attr(target_arch = "wasm32", unsafe(link_section = "nfw.manifest"))]
            // Public, because the compiler warns about unused private statics. The section keeps
            // it.
            pub static MANIFEST: [u8; TEXT.len()] = {
                let mut bytes = [0; TEXT.len()];
                let mut at = 0;
                while at < bytes.len() {
                    bytes[at] = TEXT.as_bytes()[at];
                    at += 1;
                }
                bytes
            };
        };
    };
}
