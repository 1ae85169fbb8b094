// SPDX-License-Identifier: MIT OR Apache-2.0
//! Declares the host functions of all capabilities, from the table in `shared/src/abi/capability.rs`.

use nf_wasm_shared::nf_wasm_capabilities;

/// The table's types, by its names.
mod types {
    pub type U32 = u32;
    pub type I32 = i32;
    pub type U64 = u64;
    pub type In = *const u8;
    pub type Out = *mut u8;
}

macro_rules! imports {
    ($($constant:ident $module:ident $name:literal $bit:literal $summary:literal {
        $($what:literal $function:ident($($parameter:ident: $type:ident),*) -> $result:ident,
            [$($fuel:tt)*], $fuel_text:literal;)*
    })*) => {$(
        #[allow(dead_code, reason = "the table may have functions that the SDK wraps later")]
        pub mod $module {
            use super::types;

            #[link(wasm_import_module = $name)]
            unsafe extern "C" {
                $(pub fn $function($($parameter: types::$type),*) -> types::$result;)*
            }
        }
    )*};
}

nf_wasm_capabilities!(imports);
