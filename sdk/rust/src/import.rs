// SPDX-License-Identifier: MIT OR Apache-2.0
//! The raw host functions, a module for each capability. Generated from the table in
//! `shared/src/abi/capability.rs`.

use nf_wasm_shared::nf_wasm_capabilities;

/// The types in the table.
pub mod types {
    #![allow(missing_docs, reason = "the names say it")]

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
        #[doc = concat!("Capability `", $name, "`: ", $summary, ".")]
        pub mod $module {
            use super::types;

            #[link(wasm_import_module = $name)]
            unsafe extern "C" {
                $(#[doc = $what]
                #[doc = ""]
                #[doc = "# Safety"]
                #[doc = ""]
                #[doc = "Addresses are valid for the bytes that the function reads or writes."]
                pub fn $function($($parameter: types::$type),*) -> types::$result;)*
            }
        }
    )*};
}

nf_wasm_capabilities!(imports);
