// SPDX-License-Identifier: GPL-2.0-only
//! Capabilities: the functions that a guest may import, one file for each module name.
//!
//! Each file has a table `MODULE`, which [`crate::inspect`] checks imports against, and a
//! function `link` that defines the same functions for wasmi; a test holds the two together. A
//! new capability is one such file, one word in the list below, and its bit in
//! `shared/src/abi/capability.rs`.

use nf_wasm_shared::abi::capability::Capability;
use wasmi::errors::LinkerError;
use wasmi::{Linker, TrapCode};
use wasmparser::ValType;

use crate::guest::NativeGuest;
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

/// A function as compiled code calls it: with arguments and a result of 64 bits.
pub(crate) type Native<H> = fn(&mut NativeGuest<'_, H>, [u64; 3]) -> Result<u64, TrapCode>;

/// A module that guests import from.
#[derive(Debug)]
pub struct Module {
    /// The capability that importing from it needs; its name is the module's.
    pub capability: Capability,
    /// What it has.
    pub functions: &'static [Function],
}

macro_rules! modules {
    ($($name:ident)+) => {
        $(mod $name;)+

        /// Every module that guests can import from.
        pub const MODULES: &[Module] = &[$($name::MODULE),+];

        /// Defines the functions of the modules in the set `bits`.
        pub(crate) fn link<H: Host>(
            linker: &mut Linker<State<H>>,
            bits: u64,
        ) -> Result<(), LinkerError> {
            $(if bits & $name::MODULE.capability.bit != 0 {
                $name::link(linker)?;
            })+
            Ok(())
        }

        /// The function of a module, for compiled code.
        pub(crate) fn native<H: Host>(module: &str, name: &str) -> Option<Native<H>> {
            $(if module == $name::MODULE.capability.name {
                return $name::native(name);
            })+
            None
        }
    };
}

modules!(packet log clock mark);
