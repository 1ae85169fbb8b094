// SPDX-License-Identifier: GPL-2.0-only
//! Hostile guests, and the expected outcome of each.
//!
//! One corpus for all who need it: the engine's tests on the host (`engine/tests/hostile.rs`), the
//! subject `hostile` in the virtual machine, and `nf-wasm-hostile`, which measures. Modules are
//! made when they are asked for; nothing large is kept.
//!
//! A new case is one entry in the file that its attack belongs to:
//!
//! - [`declared`]: great numbers in few bytes, and other encodings that promise more than they hold
//! - [`heavy`]: as much as the limits allow; loading them is what takes time, memory and stack
//! - [`megabyte`]: the same with modules as large as they may be; minutes in an emulated machine
//! - [`slow`]: what a compiler might do again and again, at any size
//! - [`setup`]: what goes wrong between translation and the first packet
//! - [`packets`]: what a filter tries when it is shown packets
//! - [`ops`]: every operation in a loop, to be measured

pub mod bytes;
pub mod declared;
pub mod heavy;
pub mod megabyte;
pub mod ops;
pub mod packets;
pub mod setup;
pub mod slow;

use nf_wasm_shared::abi::trap::Trap;

/// The bytes are no valid module.
pub const ENOEXEC: i32 = 8;
/// Memory ran out.
pub const ENOMEM: i32 = 12;
/// The guest interface is not kept.
pub const EINVAL: i32 = 22;
/// Over a limit.
pub const EFBIG: i32 = 27;
/// A proposal or construct that the engine does not have.
pub const EOPNOTSUPP: i32 = 95;

/// What has to become of a case.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// It is not loaded: the errno, and words that the text has.
    Refused(i32, &'static [&'static str]),
    /// It is loaded, and this is what it makes of its packets, one after the other; of those that
    /// follow, the same as of the last.
    Loaded(&'static [Result<i32, Trap>]),
}

/// One hostile guest.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it tries.
    pub name: &'static str,
    /// Makes the module.
    pub module: fn() -> Vec<u8>,
    /// What has to become of it.
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

/// A case that is loaded.
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

/// A module with those fields and a filter that accepts.
fn with(fields: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module {fields}
             (func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1)))"#
    ))
}

/// A module with those fields, a memory of one page, and a filter with that body; `$ctx`, `$pkt`
/// and `$len` are its parameters, `$i` and `$j` are locals.
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
