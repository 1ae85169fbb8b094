// SPDX-License-Identifier: GPL-2.0-only
//! Makes the host functions of all capabilities callable by guests, in either tier.
//!
//! The table in `shared/src/abi/capability.rs` lists the functions. This file derives from it each
//! function's entry for wasmi's linker, its entry for compiled code, and its type for
//! [`crate::inspect`]. It also charges the fuel. The file of each capability implements the
//! functions, under the same names and with the same types.

use nf_wasm_shared::abi::capability::Capability;
use nf_wasm_shared::nf_wasm_capabilities;
use wasmi::errors::LinkerError;
use wasmi::{Caller, Error, Linker, TrapCode};
use wasmparser::ValType;

use crate::guest::{Guest, NativeGuest};
use crate::host::Host;
use crate::state::State;

/// One function of a capability.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Types of its parameters.
    pub params: &'static [ValType],
    /// Types of its results.
    pub results: &'static [ValType],
}

/// The signature for compiled code: arguments and result have 64 bits.
pub(crate) type Native<H> = fn(&mut NativeGuest<'_, H>, [u64; 3]) -> Result<u64, TrapCode>;

/// An import module: the functions of one capability.
#[derive(Debug)]
pub struct Module {
    /// The capability that an import from this module requires. Both have the same name.
    pub capability: Capability,
    /// Its functions.
    pub functions: &'static [Function],
}

/// A number that host functions take or return.
trait Number {
    const TYPE: ValType;

    fn from_bits(bits: u64) -> Self;
    fn to_bits(self) -> u64;
}

impl Number for u32 {
    const TYPE: ValType = ValType::I32;

    fn from_bits(bits: u64) -> Self {
        bits as u32
    }

    fn to_bits(self) -> u64 {
        self.into()
    }
}

impl Number for i32 {
    const TYPE: ValType = ValType::I32;

    fn from_bits(bits: u64) -> Self {
        bits as u32 as i32
    }

    fn to_bits(self) -> u64 {
        (self as u32).into()
    }
}

impl Number for u64 {
    const TYPE: ValType = ValType::I64;

    fn from_bits(bits: u64) -> Self {
        bits
    }

    fn to_bits(self) -> u64 {
        self
    }
}

// The table's types, by its names.
type U32 = u32;
type I32 = i32;
type U64 = u64;
type In = u32;
type Out = u32;

macro_rules! functions {
    ($($constant:ident $module:ident $name:literal $bit:literal $summary:literal {
        $($what:literal $function:ident($($parameter:ident: $type:ident),*) -> $result:ident,
            [$($fuel:tt)*], $fuel_text:literal;)*
    })*) => {
        $(mod $module;)*

        /// Every module that guests can import from.
        pub const MODULES: &[Module] = &[$(Module {
            capability: nf_wasm_shared::abi::capability::$constant,
            functions: &[$(Function {
                name: stringify!($function),
                params: &[$(<$type as Number>::TYPE),*],
                results: &[<$result as Number>::TYPE],
            }),*],
        }),*];

        /// Defines the functions of the modules in the set `bits`.
        pub(crate) fn link<H: Host>(
            linker: &mut Linker<State<H>>,
            bits: u64,
        ) -> Result<(), LinkerError> {
            $(if bits & (1 << $bit) != 0 {
                $(linker.func_wrap(
                    $name,
                    stringify!($function),
                    |mut guest: Caller<'_, State<H>> $(, $parameter: $type)*| {
                        guest.charge($($fuel)*)?;
                        let result: $result = $module::$function(&mut guest $(, $parameter)*)?;
                        Ok::<_, Error>(result)
                    },
                )?;)*
            })*
            Ok(())
        }

        /// The function of a module, for compiled code.
        pub(crate) fn native<H: Host>(module: &str, name: &str) -> Option<Native<H>> {
            Some(match (module, name) {
                $($(($name, function) if function == stringify!($function) => |guest, arguments| {
                    let [$($parameter,)* ..] = arguments;
                    $(let $parameter = <$type as Number>::from_bits($parameter);)*
                    guest.charge($($fuel)*)?;
                    let result: $result = $module::$function(guest $(, $parameter)*)?;
                    Ok(result.to_bits())
                },)*)*
                _ => return None,
            })
        }
    };
}

nf_wasm_capabilities!(functions);
