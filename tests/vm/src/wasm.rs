// SPDX-License-Identifier: GPL-2.0-only
//! Small filters in the text format.

use std::fs;
use std::path::Path;

use crate::FILTERS;

/// Assembles a module.
///
/// # Panics
///
/// If `text` is not WAT.
#[track_caller]
pub fn wat(text: &str) -> Vec<u8> {
    match wat::parse_str(text) {
        Ok(wasm) => wasm,
        Err(error) => panic!("{error}\nin: {text}"),
    }
}

/// A module with a memory of one page and a filter with the body `body`. `$ctx`, `$pkt` and `$len`
/// are the filter's parameters. `fields` are further fields of the module, imports first.
#[track_caller]
pub fn filter(fields: &str, body: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module {fields}
             (memory (export "memory") 1)
             (func $filter (export "nfw_filter")
               (param $ctx i32) (param $pkt i32) (param $len i32) (result i32)
               (local $i i32) (local $j i32)
               {body}))"#
    ))
}

/// A filter that returns `verdict` for every packet.
#[track_caller]
pub fn always(verdict: i32) -> Vec<u8> {
    wat(&format!(
        r#"(module (func (export "nfw_filter") (param i32 i32 i32) (result i32)
             (i32.const {verdict})))"#
    ))
}

/// A filter that uses up its fuel on every packet.
#[track_caller]
pub fn endless() -> Vec<u8> {
    filter("", "(loop $for (br $for)) (unreachable)")
}

/// The binary of an example filter, by its file's name.
#[track_caller]
pub fn example(file: &str) -> Vec<u8> {
    let path = Path::new(FILTERS).join(file);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    match wat::parse_bytes(&bytes) {
        Ok(wasm) => wasm.into_owned(),
        Err(error) => panic!("{}: {error}", path.display()),
    }
}
