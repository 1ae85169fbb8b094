// SPDX-License-Identifier: GPL-2.0-only
//! Hostile guests, and the expected outcome of each.
//!
//! One corpus for all users: the engine's tests on the host (`engine/tests/hostile.rs`), the
//! subject `hostile` in the virtual machine, and `nf-wasm-hostile`, which measures. Modules are
//! made on demand, so that nothing large is kept.
//!
//! A new case is one entry in the file of its attack:
//!
//! - [`declared`]: large numbers in few bytes, and other encodings that declare more than they
//!   contain
//! - [`heavy`]: modules at the limits, which take time, memory and stack to load
//! - [`megabyte`]: modules of the maximum size; minutes in an emulated machine
//! - [`slow`]: modules that may make a compiler repeat work, at any size
//! - [`setup`]: failures between translation and the first packet
//! - [`packets`]: attacks of a filter that runs on packets
//! - [`ops`]: every operator and host function in a loop, for measurements

pub mod bytes;
pub mod declared;
pub mod heavy;
pub mod megabyte;
pub mod ops;
pub mod packets;
pub mod setup;
pub mod slow;

use nf_wasm_shared::abi::trap::Trap;

/// The bytes are not a valid module.
pub const ENOEXEC: i32 = 8;
/// Memory ran out.
pub const ENOMEM: i32 = 12;
/// The module breaks the guest interface.
pub const EINVAL: i32 = 22;
/// The module exceeds a limit.
pub const EFBIG: i32 = 27;
/// The module uses a proposal or construct that the engine does not support.
pub const EOPNOTSUPP: i32 = 95;

/// The expected outcome of a case.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// The load is refused with this errno. The text contains these words.
    Refused(i32, &'static [&'static str]),
    /// The module loads. These are the results for its packets, in order. The last result also
    /// holds for all further packets.
    Loaded(&'static [Result<i32, Trap>]),
}

/// One hostile guest.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What the guest does.
    pub name: &'static str,
    /// Makes the module.
    pub module: fn() -> Vec<u8>,
    /// The expected outcome.
    pub expected: Expected,
}

/// A case that is refused.
const fn refused(
    name: &'static str,
    errno: i32,
    words: &'static [&'static str],
    module: fn() -> Vec<u8>,
) -> Case {
    Case {
        name,
        module,
        expected: Expected::Refused(errno, words),
    }
}

/// A case that loads.
const fn loaded(
    name: &'static str,
    outcomes: &'static [Result<i32, Trap>],
    module: fn() -> Vec<u8>,
) -> Case {
    Case {
        name,
        module,
        expected: Expected::Loaded(outcomes),
    }
}

/// The corpus.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [
        declared::CASES,
        heavy::CASES,
        megabyte::CASES,
        slow::CASES,
        setup::CASES,
        packets::CASES,
    ]
    .into_iter()
    .flatten()
}

/// Assembles a module.
fn wat(text: &str) -> Vec<u8> {
    match wat::parse_str(text) {
        Ok(wasm) => wasm,
        Err(error) => panic!("{error}\nin: {text}"),
    }
}

/// A module with those fields and a filter function that accepts.
fn with(fields: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module {fields}
             (func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1)))"#
    ))
}

/// A module with those fields, a memory of one page, and a filter function with that body. `$ctx`,
/// `$pkt` and `$len` are its parameters, `$i` and `$j` are locals.
fn filter(fields: &str, body: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module {fields}
             (memory (export "memory") 1)
             (func $filter (export "nfw_filter")
               (param $ctx i32) (param $pkt i32) (param $len i32) (result i32)
               (local $i i32) (local $j i32)
               {body}))"#
    ))
}
