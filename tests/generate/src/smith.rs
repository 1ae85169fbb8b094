// SPDX-License-Identifier: GPL-2.0-only
//! Generates any valid module, with wasm-smith.

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use nf_wasm_shared::abi::limits;
use wasm_smith::{Config, InstructionKind, InstructionKinds, Module};

/// Assembles text of this file.
fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The host functions that give the same result in the kernel and in user space. The clock does
/// not.
const IMPORTS: &str = r#"(module
    (import "nfw.packet" "len" (func (result i32)))
    (import "nfw.packet" "load" (func (param i32 i32 i32) (result i32)))
    (import "nfw.log" "write" (func (param i32 i32) (result i32)))
    (import "nfw.mark" "get" (func (result i32)))
    (import "nfw.mark" "set" (func (param i32) (result i32))))"#;

static AVAILABLE: LazyLock<Vec<u8>> = LazyLock::new(|| wat(IMPORTS));

/// The exports of filters, with and without a memory, an `nfw_init`, an `nfw_buf`.
static EXPORTS: LazyLock<[Vec<u8>; 8]> = LazyLock::new(|| {
    [0, 1, 2, 3, 4, 5, 6, 7].map(|parts| {
        let memory = r#"(memory (export "memory") 1)"#;
        let init = r#"(func (export "nfw_init") (result i32) (i32.const 0))"#;
        let buf = r#"(func (export "nfw_buf") (param i32) (result i32) (i32.const 0))"#;
        let part = |bit, text| if parts & bit != 0 { text } else { "" };
        wat(&format!(
            r#"(module {} {} {}
                (func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1)))"#,
            part(1, memory),
            part(2, init),
            part(4, buf)
        ))
    })
});

/// Makes a filter that uses only what the engine supports. Its sizes may exceed limits.
pub fn inside(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    // Mostly a memory, seldom a function that runs at load: its results are random too, so that the
    // load mostly fails.
    let exports = match u.int_in_range(0..=15_u8)? {
        0 => 0,
        1 => 3,
        2 => 5,
        3 => 7,
        _ => 1,
    };
    let config = Config {
        exports: Some(EXPORTS[exports].clone()),
        available_imports: Some(AVAILABLE.clone()),
        disallow_traps: u.ratio(1, 3)?,
        generate_custom_sections: u.ratio(1, 16)?,
        max_memory32_bytes: u64::from(limits::MEMORY_PAGES) * 65_536,
        max_table_elements: u64::from(limits::TABLE_ELEMENTS),
        max_instructions: *u.choose(&[50, 200, 1000])?,
        ..dialect()
    };
    Ok(Module::new(config, u)?.to_bytes())
}

/// Makes a module with any proposals. The engine refuses most of these.
pub fn outside(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut config: Config = u.arbitrary()?;
    config.exports = Some(EXPORTS[u.int_in_range(0..=7)?].clone());
    config.available_imports = u.ratio(1, 2)?.then(|| AVAILABLE.clone());
    config.module_shape = None;
    config.allow_invalid_funcs = u.ratio(1, 4)?;
    // This limits wasm-smith's time. The engine does not need it.
    config.max_instructions = config.max_instructions.min(500);
    config.max_funcs = config.max_funcs.min(100);
    Ok(Module::new(config, u)?.to_bytes())
}

/// `engine/src/config.rs` as wasm-smith's settings.
fn dialect() -> Config {
    use InstructionKind::{Control, Memory, Numeric, Parametric, Reference, Table, Variable};
    Config {
        allow_start_export: false,
        // The sign and the payload of a NaN result depend on the processor.
        canonicalize_nans: true,
        allowed_instructions: InstructionKinds::new(&[
            Control, Memory, Numeric, Parametric, Reference, Table, Variable,
        ]),
        bulk_memory_enabled: true,
        exceptions_enabled: false,
        extended_const_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        multi_value_enabled: true,
        reference_types_enabled: true,
        relaxed_simd_enabled: false,
        saturating_float_to_int_enabled: true,
        sign_extension_ops_enabled: true,
        simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        // The exported memory comes in addition.
        max_memories: 0,
        max_tables: 1,
        ..Config::default()
    }
}
