// SPDX-License-Identifier: GPL-2.0-only
//! Turns wasmparser's errors into refusals.

use alloc::format;
use alloc::string::String;
use nf_wasm_shared::abi::limits;
use wasmparser::BinaryReaderError;

use crate::refusal::{refuse, Refusal, RefusalKind};

const MAGIC: [u8; 4] = *b"\0asm";
const CORE_VERSION: [u8; 4] = [1, 0, 0, 0];
/// The second half of the version field is the layer: 1 is the component model.
const COMPONENT_LAYER: [u8; 2] = [1, 0];

/// Checks the header. If the bytes are of another format that is often mistaken for a Wasm binary,
/// the refusal names it.
#[inline(never)]
pub(super) fn check_header(wasm: &[u8]) -> Result<(), Refusal> {
    if wasm.len() > limits::MODULE_BYTES as usize {
        refuse!(
            Limit,
            "the module has {} bytes; {} are allowed (a release build with debug information \
             stripped is usually far smaller)",
            wasm.len(),
            limits::MODULE_BYTES
        );
    }
    let Some((magic, rest)) = wasm.split_first_chunk::<4>() else {
        refuse!(
            Malformed,
            "not a Wasm module: it ends within its header, at offset {:#x}",
            wasm.len()
        );
    };
    if *magic != MAGIC {
        refuse!(
            Malformed,
            "not a Wasm module: it does not begin with \\0asm at offset 0x0{}",
            if magic.starts_with(b"(") || magic.starts_with(b";;") {
                " (this looks like the text format: translate it first)"
            } else {
                ""
            }
        );
    }
    let Some((version, _)) = rest.split_first_chunk::<4>() else {
        refuse!(
            Malformed,
            "not a Wasm module: it ends within its header, at offset {:#x}",
            wasm.len()
        );
    };
    if version[2..] == COMPONENT_LAYER {
        refuse!(
            Unsupported,
            "this is a component, not a core module (offset 0x4); build for a core target such \
             as wasm32-unknown-unknown, without the component step"
        );
    }
    if *version != CORE_VERSION {
        refuse!(
            Malformed,
            "unknown Wasm version {:#x} at offset 0x4",
            u32::from_le_bytes(*version)
        );
    }
    Ok(())
}

/// A refusal for an error outside function bodies.
#[cold]
#[inline(never)]
pub(super) fn malformed(error: BinaryReaderError) -> Refusal {
    refusal(&error, String::new())
}

/// A refusal for an error in the body of function `index`.
#[cold]
#[inline(never)]
pub(super) fn malformed_in(index: u32, error: BinaryReaderError) -> Refusal {
    refusal(&error, format!(" in function {index}"))
}

fn refusal(error: &BinaryReaderError, place: String) -> Refusal {
    let message = error.message();
    let (kind, help) = classify(message);
    let what = match kind {
        RefusalKind::Malformed => "not a valid Wasm module: ",
        _ => "",
    };
    Refusal::new(
        kind,
        format!(
            "{what}{message} at offset {:#x}{place}{help}",
            error.offset()
        ),
    )
}

/// Tells unsupported features from malformed modules. wasmparser's errors are only texts, so this
/// matches their words. wasmparser's exact version is pinned, and `tests/refusals.rs` checks the
/// words.
fn classify(message: &str) -> (RefusalKind, &'static str) {
    const WORDS: &[(&str, RefusalKind, &str)] = &[
        (
            "SIMD",
            RefusalKind::Unsupported,
            "; compile without simd128",
        ),
        (
            "memory64 must be enabled",
            RefusalKind::Unsupported,
            "; compile for wasm32",
        ),
        (
            "threads must be enabled",
            RefusalKind::Unsupported,
            "; compile without atomics and shared memory",
        ),
        (
            "threads support",
            RefusalKind::Unsupported,
            "; compile without atomics and shared memory",
        ),
        ("multiple memories", RefusalKind::Unsupported, ""),
        ("not enabled", RefusalKind::Unsupported, ""),
        ("must be enabled", RefusalKind::Unsupported, ""),
        ("to be enabled", RefusalKind::Unsupported, ""),
        ("without the", RefusalKind::Unsupported, ""),
        ("disabled", RefusalKind::Unsupported, ""),
        ("disallowed", RefusalKind::Unsupported, ""),
        ("proposal", RefusalKind::Unsupported, ""),
        ("references required", RefusalKind::Unsupported, ""),
        ("not supported", RefusalKind::Unsupported, ""),
        ("exceeds limit", RefusalKind::Limit, ""),
        ("size is out of bounds", RefusalKind::Limit, ""),
        ("size out of bounds", RefusalKind::Limit, ""),
    ];
    if let Some(what) = message.strip_prefix("constant expression required: ") {
        return constant(what);
    }
    for &(word, kind, help) in WORDS {
        if message.contains(word) {
            return (kind, help);
        }
    }
    (RefusalKind::Malformed, "")
}

/// Classifies an expression that is not constant in Wasm 2.0, but may be in 3.0. A mutable global
/// is constant in neither, but wasmparser does not say whether the global is mutable.
fn constant(what: &str) -> (RefusalKind, &'static str) {
    const EXTENDED: (RefusalKind, &str) = (
        RefusalKind::Unsupported,
        "; extended constant expressions, of Wasm 3.0, are not supported",
    );
    const GC: (RefusalKind, &str) = (
        RefusalKind::Unsupported,
        "; the gc proposal is not supported",
    );
    if what == "global.get of locally defined global" {
        return EXTENDED;
    }
    match what.strip_prefix("non-constant operator: ") {
        Some("i32.add" | "i32.sub" | "i32.mul" | "i64.add" | "i64.sub" | "i64.mul") => EXTENDED,
        Some(
            "struct.new" | "struct.new_default" | "array.new" | "array.new_default"
            | "array.new_fixed" | "ref.i31" | "extern.convert_any" | "any.convert_extern",
        ) => GC,
        _ => (RefusalKind::Malformed, ""),
    }
}
