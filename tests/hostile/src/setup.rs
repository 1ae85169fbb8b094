// SPDX-License-Identifier: GPL-2.0-only
//! Filters that misbehave between translation and the first packet: `nfw_init`, `nfw_buf`, imports
//! and exports.

use nf_wasm_shared::abi::trap::Trap;

use crate::{filter, loaded, refused, wat, with, Case, EFBIG, EINVAL, ENOEXEC};

/// A module whose `nfw_init` has that body.
fn init(fields: &str, body: &str) -> Vec<u8> {
    with(&format!(
        r#"{fields} (func $init (export "nfw_init") (result i32) (local $i i32) {body})"#
    ))
}

/// A module whose `nfw_buf` has that body, with a memory of one page. The filter accepts if the
/// context is readable.
fn buf(fields: &str, body: &str) -> Vec<u8> {
    filter(
        &format!(r#"{fields} (func (export "nfw_buf") (param $bytes i32) (result i32) {body})"#),
        // The context's version and size must be at the address that the host passes.
        "(i32.and (i32.eq (i32.load (local.get $ctx)) (i32.const 1))
                  (i32.eq (i32.load offset=4 (local.get $ctx)) (i32.const 48)))",
    )
}

/// A filter that accepts if its memory has `pages` pages. It begins with one page.
fn pages(init: &str, pages: u32) -> Vec<u8> {
    wat(&format!(
        r#"(module (memory (export "memory") 1)
             (func (export "nfw_init") (result i32) {init} (i32.const 0))
             (func (export "nfw_filter") (param i32 i32 i32) (result i32)
               (i32.eq (memory.size) (i32.const {pages}))))"#
    ))
}

/// The cases.
pub const CASES: &[Case] = &[
    refused(
        "nfw_init loops",
        EINVAL,
        &["nfw_init", "out-of-fuel"],
        || init("", "(loop $for (br $for)) (unreachable)"),
    ),
    refused(
        "nfw_init fills memory for ever",
        EINVAL,
        &["nfw_init", "out-of-fuel"],
        || {
            init(
                r#"(memory (export "memory") 64)
               (func (export "nfw_buf") (param i32) (result i32) (i32.const 0))"#,
                "(loop $for
               (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x400000)) (br $for))
             (unreachable)",
            )
        },
    ),
    refused(
        "nfw_init recurses",
        EINVAL,
        &["nfw_init", "stack-overflow"],
        || init("", "(call $init)"),
    ),
    refused(
        "nfw_init traps",
        EINVAL,
        &["nfw_init", "unreachable"],
        || init("", "(unreachable)"),
    ),
    refused(
        "nfw_init divides by zero",
        EINVAL,
        &["integer-division-by-zero"],
        || init("", "(i32.div_u (i32.const 1) (local.get $i))"),
    ),
    refused(
        "nfw_init returns 5",
        EINVAL,
        &["nfw_init returned 5"],
        || init("", "(i32.const 5)"),
    ),
    refused(
        "nfw_init returns -1",
        EINVAL,
        &["nfw_init returned -1"],
        || init("", "(i32.const -1)"),
    ),
    refused(
        "_initialize loops",
        EINVAL,
        &["_initialize", "out-of-fuel"],
        || with(r#"(func (export "_initialize") (loop $for (br $for)))"#),
    ),
    refused(
        "_initialize traps",
        EINVAL,
        &["_initialize trapped: unreachable"],
        || with(r#"(func (export "_initialize") (unreachable))"#),
    ),
    refused(
        "__wasm_call_ctors loops",
        EINVAL,
        &["__wasm_call_ctors", "out-of-fuel"],
        || with(r#"(func (export "__wasm_call_ctors") (loop $for (br $for)))"#),
    ),
    refused(
        "an import as _initialize",
        EINVAL,
        &["_initialize", "imported function"],
        || {
            wat(r#"(module (import "nfw.mark" "get" (func $f (result i32)))
                 (export "_initialize" (func $f))
                 (func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1)))"#)
        },
    ),
    loaded("_initialize takes all memory but a page", &[Ok(1)], || {
        wat(r#"(module (memory (export "memory") 1)
             (func (export "_initialize") (drop (memory.grow (i32.const 62))))
             (func (export "nfw_filter") (param i32 i32 i32) (result i32)
               (i32.eq (memory.size) (i32.const 64))))"#)
    }),
    refused(
        "_initialize takes all memory",
        EFBIG,
        &["64 are allowed"],
        || {
            with(
                r#"(memory (export "memory") 1)
               (func (export "_initialize") (drop (memory.grow (i32.const 63))))"#,
            )
        },
    ),
    loaded(
        "nfw_init grows by a page until it may not",
        &[Ok(1)],
        || {
            // 63 for the guest, and one for the host.
            pages(
                "(loop $on (br_if $on (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))",
                64,
            )
        },
    ),
    loaded("nfw_init asks for all memory at once", &[Ok(1)], || {
        pages(
            "(drop (memory.grow (i32.const 65535))) (drop (memory.grow (i32.const -1)))",
            2,
        )
    }),
    refused(
        "nfw_init asks for memory for ever",
        EINVAL,
        &["out-of-fuel"],
        || {
            init(
                r#"(memory (export "memory") 1)"#,
                "(loop $for (drop (memory.grow (i32.const 1))) (br $for)) (unreachable)",
            )
        },
    ),
    refused(
        "nfw_init grows its table for ever",
        EINVAL,
        &["out-of-fuel"],
        || {
            init(
            "(table 0 funcref)",
            "(loop $for (drop (table.grow (ref.null func) (i32.const 1))) (br $for)) (unreachable)",
        )
        },
    ),
    refused("nfw_init logs for ever", EINVAL, &["out-of-fuel"], || {
        wat(r#"(module
                 (import "nfw.log" "write" (func $write (param i32 i32) (result i32)))
                 (memory (export "memory") 1)
                 (func (export "nfw_init") (result i32)
                   (loop $for (drop (call $write (i32.const 0) (i32.const 256))) (br $for))
                   (unreachable))
                 (func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1)))"#)
    }),
    loaded("nfw_init wants a packet", &[Ok(1)], || {
        wat(r#"(module
                 (import "nfw.packet" "load" (func $load (param i32 i32 i32) (result i32)))
                 (import "nfw.packet" "len" (func $len (result i32)))
                 (import "nfw.mark" "get" (func $get (result i32)))
                 (import "nfw.mark" "set" (func $set (param i32) (result i32)))
                 (memory (export "memory") 1)
                 (func (export "nfw_init") (result i32)
                   (drop (call $get)) (drop (call $set (i32.const 7)))
                   (i32.or
                     (call $len)
                     (i32.ne (call $load (i32.const 0) (i32.const 0) (i32.const 1))
                             (i32.const -14))))
                 (func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1)))"#)
    }),
    refused(
        "nfw_buf far outside",
        EINVAL,
        &["nfw_buf", "0xfffffff8"],
        || buf("", "(i32.const -8)"),
    ),
    refused(
        "nfw_buf too near the end",
        EINVAL,
        &["nfw_buf", "bytes"],
        || buf("", "(i32.sub (i32.const 65544) (local.get $bytes))"),
    ),
    refused(
        "nfw_buf not aligned",
        EINVAL,
        &["nfw_buf", "8-aligned"],
        || buf("", "(i32.const 4)"),
    ),
    refused(
        "nfw_buf traps",
        EINVAL,
        &["nfw_buf trapped: unreachable"],
        || buf("", "(unreachable)"),
    ),
    refused(
        "nfw_buf loops",
        EINVAL,
        &["nfw_buf trapped: out-of-fuel"],
        || buf("", "(loop $for (br $for)) (unreachable)"),
    ),
    loaded("nfw_buf at the very end", &[Ok(1)], || {
        buf(
            "",
            "(i32.and (i32.sub (i32.const 65536) (local.get $bytes)) (i32.const -8))",
        )
    }),
    loaded("nfw_buf over its own data", &[Ok(1)], || {
        buf(r#"(data (i32.const 0) "overwritten")"#, "(i32.const 0)")
    }),
    loaded("nfw_buf grows first", &[Ok(1)], || {
        buf(
            "",
            "(i32.mul (memory.grow (i32.const 9)) (i32.const 65536))",
        )
    }),
    loaded("nfw_buf elsewhere on each CPU", &[Ok(1)], || {
        // The address depends on the clock, so each instance has a different one.
        buf(
            r#"(import "nfw.clock" "monotonic" (func $now (result i64)))"#,
            "(i32.and (i32.wrap_i64 (i64.shl (call $now) (i64.const 3))) (i32.const 0x7ff8))",
        )
    }),
    refused(
        "an import as nfw_filter",
        EINVAL,
        &["nfw_filter", "imported function"],
        || {
            wat(
                r#"(module (import "nfw.packet" "load" (func $f (param i32 i32 i32) (result i32)))
                 (export "nfw_filter" (func $f)))"#,
            )
        },
    ),
    refused(
        "an import as nfw_init",
        EINVAL,
        &["nfw_init", "imported function"],
        || {
            wat(
                r#"(module (import "nfw.packet" "len" (func $f (result i32)))
                 (export "nfw_init" (func $f))
                 (func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1)))"#,
            )
        },
    ),
    refused(
        "an import as nfw_buf",
        EINVAL,
        &["nfw_buf", "imported function"],
        || {
            wat(
                r#"(module (import "nfw.mark" "set" (func $f (param i32) (result i32)))
                 (memory (export "memory") 1) (export "nfw_buf" (func $f))
                 (func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1)))"#,
            )
        },
    ),
    refused(
        "two exports of one name",
        ENOEXEC,
        &["duplicate export"],
        || {
            // The assembler would refuse two equal names: "nfw_filteR" is patched afterwards.
            let mut wasm = with(
                r#"(func (export "nfw_filteR") (param i32 i32 i32) (result i32)
                                 (i32.const 0))"#,
            );
            let at = wasm
                .windows(10)
                .position(|window| window == b"nfw_filteR")
                .expect("the export's name");
            wasm[at + 9] = b'r';
            wasm
        },
    ),
    loaded("the memory by two names", &[Ok(1)], || {
        with(r#"(memory (export "memory") (export "again") 1)"#)
    }),
    refused(
        "the memory by another name only",
        EINVAL,
        &["not exported"],
        || with(r#"(memory (export "mem") 1)"#),
    ),
    refused(
        "a global as the memory",
        EINVAL,
        &["memory", "global"],
        || with(r#"(global (export "memory") i32 (i32.const 0))"#),
    ),
    refused(
        "a table as nfw_filter",
        EINVAL,
        &["nfw_filter", "not a function"],
        || wat(r#"(module (table (export "nfw_filter") 1 funcref))"#),
    ),
    loaded(
        "nfw_filter calls nfw_init",
        &[Err(Trap::StackOverflow)],
        || {
            wat(r#"(module (global $set_up (mut i32) (i32.const 0))
                 (func $init (export "nfw_init") (result i32)
                   (if (global.get $set_up)
                     (then (return (call $filter (i32.const 0) (i32.const 0) (i32.const 0)))))
                   (global.set $set_up (i32.const 1))
                   (i32.const 0))
                 (func $filter (export "nfw_filter") (param i32 i32 i32) (result i32)
                   (call $init)))"#)
        },
    ),
    refused(
        "data outside memory",
        EINVAL,
        &["data segment", "0x10001"],
        || with(r#"(memory (export "memory") 1) (data (i32.const 0xffff) "xy")"#),
    ),
    refused(
        "elements outside the table",
        EINVAL,
        &["element segment"],
        || with("(table 1 funcref) (func $f) (elem (i32.const 1) $f)"),
    ),
    refused(
        "no room for the host's page",
        EINVAL,
        &["raise the memory's maximum"],
        || with(r#"(memory (export "memory") 1 1)"#),
    ),
    refused(
        "64 pages, and one for the host",
        EFBIG,
        &["64 are allowed"],
        || with(r#"(memory (export "memory") 64)"#),
    ),
];
