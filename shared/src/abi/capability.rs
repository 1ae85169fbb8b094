// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capabilities: what a filter may be granted. The table of all host functions is here.
//!
//! A capability is the *module name of an import*: a filter that imports `nfw.packet` `load` needs
//! the capability `nfw.packet`. In the ioctl interface a set of capabilities is a `u64` with one
//! bit for each. A bit is never reused.
//!
//! Macros generate from the table: this file's constants; what the engine's linker, its inspection
//! and native code need (`engine/src/capability.rs`); and the imports of the Rust SDK. `cargo xtask
//! generate` generates parts of the C headers and of `docs/guest-interface.md`.

/// Passes the table of capabilities to the macro `$with`.
///
/// A row is `CONSTANT module "name" bit "summary" { functions }`. `module` is the Rust module, in
/// the engine and in the Rust SDK, that has the functions. A function is `"summary" name(parameter:
/// Type) -> Type, [fuel], "fuel in words";` with [`Type`]s. `fuel` is a number. If the cost depends
/// on the parameters, an expression of type `u64` over them follows: `[fuel, more]`. Both are
/// charged before the function does its work. Only a function with `more` may access linear memory,
/// charge further fuel, or trap: compiled code calls the others without an exchange of fuel.
#[macro_export]
macro_rules! nf_wasm_capabilities {
    ($with:ident) => {
        $with! {
            PACKET packet "nfw.packet" 0 "load packet bytes beyond the window" {
                "Bytes of the packet from its network header on."
                len() -> I32,
                    [10], "10";
                "Copies bytes of the packet, also those beyond the window. Returns 0, or -14 (`EFAULT`) \
                 if the packet ends before `offset + len`, or its bytes there are in a device's memory \
                 (device-memory TCP): nothing of use is copied then."
                load(offset: U32, to: Out, len: U32) -> I32,
                    [10, u64::from(len / 64)],
                    "10, one for each 64 bytes, and one for each piece of memory (page, fragment) of the \
                     packet, beyond the first, that is searched for the bytes";
            }
            LOG log "nfw.log" 1 "write rate-limited lines to the kernel log" {
                "Writes one line to the kernel log, prefixed with the filter's name. At most 256 bytes; \
                 what is not printable ASCII becomes `?`. Rate-limited per filter. Returns the bytes \
                 taken. The kernel log is that of the initial network namespace; lines from others get \
                 there only if its operator sets `net.netfilter.nf_log_all_netns` to 1."
                write(text: In, len: U32) -> I32,
                    [20, u64::from(len.min(256) / 4)], "20, and one for each 4 bytes";
            }
            CLOCK clock "nfw.clock" 2 "read the monotonic and the wall clock" {
                "Nanoseconds of `CLOCK_MONOTONIC`."
                monotonic() -> U64,
                    [10], "10";
                "Nanoseconds since 1970-01-01 00:00 UTC."
                realtime() -> U64,
                    [10], "10";
            }
            MARK mark "nfw.mark" 3 "read and set the packet's mark" {
                "The packet's mark."
                get() -> U32,
                    [10], "10";
                "Sets the packet's mark. Returns 0."
                set(mark: U32) -> I32,
                    [10], "10";
            }
        }
    };
}

/// Type of a parameter or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// An unsigned `i32`.
    U32,
    /// An `i32`. As a result, a negative errno if it is below 0.
    I32,
    /// An unsigned `i64`.
    U64,
    /// Address of bytes in linear memory that the host reads: an `i32`.
    In,
    /// Address of bytes in linear memory that the host writes: an `i32`.
    Out,
}

/// A host function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Names and types of its parameters.
    pub parameters: &'static [(&'static str, Type)],
    /// Type of its result.
    pub result: Type,
    /// Its fuel, in words.
    pub fuel: &'static str,
    /// A description of what it does.
    pub summary: &'static str,
}

/// One capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The module name that a guest imports from.
    pub name: &'static str,
    /// Its bit in a set.
    pub bit: u64,
    /// A description of what it allows.
    pub summary: &'static str,
    /// Its functions.
    pub functions: &'static [Function],
}

macro_rules! capabilities {
    ($($constant:ident $module:ident $name:literal $bit:literal $summary:literal {
        $($what:literal $function:ident($($parameter:ident: $type:ident),*) -> $result:ident,
            [$($fuel:tt)*], $fuel_text:literal;)*
    })*) => {
        $(
            #[doc = concat!("Capability `", $name, "`: ", $summary, ".")]
            pub const $constant: Capability = Capability {
                name: $name,
                bit: 1 << $bit,
                summary: $summary,
                functions: &[$(Function {
                    name: stringify!($function),
                    parameters: &[$((stringify!($parameter), Type::$type)),*],
                    result: Type::$result,
                    fuel: $fuel_text,
                    summary: $what,
                }),*],
            };
        )*

        /// All known capabilities, in the order of their bits.
        pub const ALL: &[Capability] = &[$($constant),*];

        /// The set of all known capabilities.
        pub const ALL_BITS: u64 = 0 $(| $constant.bit)*;
    };
}

nf_wasm_capabilities!(capabilities);

/// The capability for imports from module `name`.
pub fn by_name(name: &str) -> Option<&'static Capability> {
    ALL.iter().find(|capability| capability.name == name)
}
