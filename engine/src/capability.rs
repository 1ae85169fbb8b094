// SPDX-License-Identifier: GPL-2.0-only
//! Makes the host functions of all capabilities callable by guests, in either tier.
//!
//! The table in `shared/src/abi/capability.rs` lists the functions. This file derives from it each
//! function's entry for wasmi's linker, its entry for compiled code, and its type for
//! [`crate::inspect`]. It also charges the fuel. The file of each capability implements the
//! functions, under the same names and with the same types.

use core::ffi::c_void;

use nf_wasm_jit::{HostFunction, Machine};
use nf_wasm_shared::abi::capability::Capability;
use nf_wasm_shared::nf_wasm_capabilities;
use wasmi::errors::LinkerError;
use wasmi::{Caller, Error, Linker};
use wasmparser::ValType;

use crate::guest::Guest;
use crate::host::Host;
use crate::linkage::serve;
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
            [$fuel:literal $(, $more:expr)?], $fuel_text:literal;)*
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
                        guest.charge($fuel $(+ $more)?)?;
                        let result: $result = $module::$function(&mut guest $(, $parameter)*)?;
                        Ok::<_, Error>(result)
                    },
                )?;)*
            })*
            Ok(())
        }

        /// Module and name of each function, and how compiled code calls it. The index in this
        /// list is the function's number.
        const FUNCTIONS: &[(&str, &str, u32, bool)] = &[$($((
            $name,
            stringify!($function),
            $fuel,
            !<[&str]>::is_empty(&[$(stringify!($more))?]),
        ),)*)*];

        /// The functions' addresses for compiled code, in the order of their numbers. A function
        /// takes the machine and three arguments of 64 bits.
        pub(crate) fn addresses<H: Host>() -> [*const c_void; COUNT] {
            [$($({
                extern "C" fn $function<H: Host>(
                    machine: *mut Machine,
                    a: u64,
                    b: u64,
                    c: u64,
                ) -> u64 {
                    let [$($parameter,)* ..] = [a, b, c];
                    $(let $parameter = <$type as Number>::from_bits($parameter);)*
                    // SAFETY: Only compiled code calls this, and passes its machine. The caller of
                    // the code has set the machine's host, and does not use it meanwhile.
                    unsafe {
                        serve::<H>(machine, |guest| {
                            $(guest.charge($more)?;)?
                            let result: $result = $module::$function(guest $(, $parameter)*)?;
                            Ok(result.to_bits())
                        })
                    }
                }
                $function::<H> as *const c_void
            },)*)*]
        }
    };
}

nf_wasm_capabilities!(functions);

/// Number of host functions.
pub(crate) const COUNT: usize = FUNCTIONS.len();

/// How compiled code calls a function.
pub(crate) fn host_function(module: &str, name: &str) -> Option<HostFunction> {
    let at = FUNCTIONS
        .iter()
        .position(|row| (row.0, row.1) == (module, name))?;
    let (.., fuel, may_trap) = FUNCTIONS[at];
    Some(HostFunction {
        number: at as u32,
        fuel,
        may_trap,
    })
}
