// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a filter's own module says of the settings that it wants.

/// Says how many bytes of a packet the filter looks at, from its network header on. No more are copied
/// into the window, unless the operator says otherwise.
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
            // Public, or it would be said to be unused; it is, and is kept for its section.
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
