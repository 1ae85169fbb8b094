// SPDX-License-Identifier: GPL-2.0-only
//! The Wasm features that filters may use, for [`crate::inspect`] and for wasmi.

use nf_wasm_shared::abi::limits;
use wasmi::{CompilationMode, Config};
use wasmparser::WasmFeatures;

/// The features beyond Wasm 1.0 that a module may use: those that toolchains enable by default.
///
/// `config` enables the same set in wasmi, so that both accept the same modules.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::REFERENCE_TYPES)
    // This does not enable the GC proposal. wasmparser needs the flag for reference types.
    .union(WasmFeatures::GC_TYPES);

pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config
        .wasm_mutable_global(true)
        .wasm_sign_extension(true)
        .wasm_multi_value(true)
        .wasm_bulk_memory(true)
        .wasm_reference_types(true)
        .wasm_saturating_float_to_int(true)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_extended_const(false)
        .wasm_custom_page_sizes(false)
        .wasm_memory64(false)
        .wasm_wide_arithmetic(false)
        .floats(true)
        .consume_fuel(true)
        .ignore_custom_sections(true)
        // The default would translate a function when a packet first reaches it.
        .compilation_mode(CompilationMode::Eager)
        // The unit is slots, despite wasmi's documentation. The minimum height equals the maximum:
        // the stack never grows, so no packet allocates.
        .set_max_stack_height(limits::VALUE_STACK_SLOTS as usize)
        .set_min_stack_height(limits::VALUE_STACK_SLOTS as usize)
        .set_max_recursion_depth(limits::CALL_DEPTH as usize)
        .set_max_cached_stacks(1);
    config
}
