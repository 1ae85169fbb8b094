// SPDX-License-Identifier: MIT OR Apache-2.0
//! All limits. The kernel module reports them with `NF_WASM_INFO`.

/// Bytes of a Wasm binary.
pub const MODULE_BYTES: u32 = 1 << 20;
/// Function types.
pub const TYPES: u32 = 1_024;
/// Functions that a module defines.
pub const FUNCTIONS: u32 = 4_096;
/// Bytes of one function body.
pub const FUNCTION_BYTES: u32 = 128 << 10;
/// Locals of one function, parameters included.
pub const LOCALS: u32 = 1_024;
/// Parameters of one function.
pub const PARAMS: u32 = 32;
/// Results of one function or block.
pub const RESULTS: u32 = 16;
/// Nested blocks in one function.
pub const NESTING: u32 = 256;
/// Targets of one `br_table`.
pub const BR_TABLE_TARGETS: u32 = 4_096;
/// Imports.
pub const IMPORTS: u32 = 64;
/// Exports.
pub const EXPORTS: u32 = 256;
/// Globals that a module defines.
pub const GLOBALS: u32 = 1_024;
/// Data segments.
pub const DATA_SEGMENTS: u32 = 1_024;
/// Element segments.
pub const ELEMENT_SEGMENTS: u32 = 64;
/// Tables.
pub const TABLES: u32 = 1;
/// Elements of the table.
pub const TABLE_ELEMENTS: u32 = 4_096;
/// Linear memories.
pub const MEMORIES: u32 = 1;
/// Pages of 64 KiB that a linear memory may have, on each CPU.
pub const MEMORY_PAGES: u32 = 64;
/// Bytes of an import's, export's or custom section's name.
pub const NAME_BYTES: u32 = 256;

/// Slots of 8 bytes on the guest's value stack.
pub const VALUE_STACK_SLOTS: u32 = 8_192;
/// Nested guest calls.
pub const CALL_DEPTH: u32 = 256;

/// Bytes of a module's signature.
pub const SIGNATURE_BYTES: u32 = 64 << 10;
/// Bytes of a filter's name, without the terminating NUL.
pub const FILTER_NAME_BYTES: u32 = 63;
/// Filters in one network namespace.
pub const FILTERS: u32 = 256;
/// Attachments in one network namespace.
pub const ATTACHMENTS: u32 = 512;

/// Fuel for one packet if the operator sets none.
pub const DEFAULT_FUEL: u64 = 100_000;
/// Maximum fuel that an operator may set for one packet.
pub const MAX_FUEL: u64 = 10_000_000;
/// Maximum fuel of all filters together that one packet passes at one hook, of one family and
/// device, in one network namespace. A packet of IPv4 or IPv6 also passes the filters of inet.
pub const HOOK_FUEL: u64 = 20_000_000;
/// Fuel for `nfw_init`, and the same amount for `_initialize` and for `nfw_buf`.
pub const INIT_FUEL: u64 = 50_000_000;
/// Bytes of the window if the operator sets none.
pub const DEFAULT_SNAPLEN: u32 = 256;
/// Maximum bytes of the window.
pub const MAX_SNAPLEN: u32 = 65_535;
/// Consecutive traps on one CPU after which a filter is quarantined, if the operator sets no
/// number.
pub const DEFAULT_QUARANTINE: u32 = 1_000;
/// Bytes of one line that `nfw.log` writes; the rest is cut off.
pub const LOG_LINE_BYTES: u32 = 256;
/// Maximum bytes of a packet for `NF_WASM_RUN`.
pub const RUN_PACKET_BYTES: u32 = 65_535;

/// Bytes that the build of a module of `module_bytes` may allocate: its linear memory, a second copy
/// while the memory grows, stacks, and the translated code. The copy of an interpreted instance
/// takes less.
pub const fn instance_bytes(module_bytes: usize) -> usize {
    const MEMORY: usize = MEMORY_PAGES as usize * 65_536;
    const STACKS: usize = VALUE_STACK_SLOTS as usize * 8 + CALL_DEPTH as usize * 64;
    const ENGINE: usize = 1 << 20;
    2 * MEMORY + 2 * STACKS + ENGINE + 64 * module_bytes
}
