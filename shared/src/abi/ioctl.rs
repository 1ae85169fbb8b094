// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ioctls of `/dev/nf_wasm`.
//!
//! The conventions are those of `include/uapi/linux/iommufd.h`. Every struct begins with its size,
//! as the caller was compiled with it. Commands are `_IO()` numbers. Pointers are 8-aligned `u64`.
//! If the caller's struct is longer than the kernel module's, the rest of the caller's must be
//! zero. If it is shorter, the rest of the kernel module's is taken as zero, and is not written
//! back. `include/nf_wasm.h` is the same interface in C.
//!
//! Errors of every command:
//!
//! | errno | meaning |
//! |---|---|
//! | `ENOTTY` | the kernel module does not know the command |
//! | `E2BIG` | the struct is longer than the kernel module's, and the rest is not zero |
//! | `EINVAL` | a field is invalid, or `size` is smaller than the first version of the struct |
//! | `EOPNOTSUPP` | a flag or an enumeration has a value that the kernel module does not know |
//! | `EPERM` | the caller lacks `CAP_NET_ADMIN` |
//! | `EFAULT` | a pointer is invalid |
//! | `ENOMEM` | memory ran out; nothing was changed |
//!
//! A command acts in the caller's network namespace at the time of the call.

pub use super::guest_test::*;
pub use super::hook::*;

/// First argument of `_IO()`.
pub const TYPE: u32 = b'N' as u32;
/// Number of the first command. 'N' A0-BF is free in `ioctl-number.rst`.
pub const BASE: u32 = 0xA0;

const fn io(number: u32) -> u32 {
    (TYPE << 8) | (BASE + number)
}

/// Passes the table of ioctls to the macro `$with`.
///
/// A row is `CONSTANT number handler(Request) by caller, "summary"`. `handler` is a function of the
/// kernel half's `command`. `caller` is `anyone`, `namespace` or `tester`. A `namespace` caller
/// needs `CAP_NET_ADMIN`, and acts in its network namespace. A `tester` needs `CAP_NET_ADMIN` in
/// the initial user namespace, and the module parameter `guest_test=1`.
#[macro_export]
macro_rules! nf_wasm_ioctls {
    ($with:ident) => {
        $with! {
            NF_WASM_INFO 0 info(Info) by anyone,
                "Describe the kernel module: struct nf_wasm_info. Needs no capability.";
            NF_WASM_LOAD 1 load(Load) by namespace,
                "Load a filter and attach it: struct nf_wasm_load.";
            NF_WASM_REPLACE 2 replace(Replace) by namespace,
                "Swap a filter's program: struct nf_wasm_replace.";
            NF_WASM_UNLOAD 3 unload(Select) by namespace,
                "Detach and free a filter: struct nf_wasm_select.";
            NF_WASM_ATTACH 4 attach(Attach) by namespace,
                "Attach a filter to a hook: struct nf_wasm_attach.";
            NF_WASM_DETACH 5 detach(Detach) by namespace,
                "Undo one attachment: struct nf_wasm_detach.";
            NF_WASM_LIST_FILTERS 6 list_filters(List) by namespace,
                "List filters: struct nf_wasm_list of struct nf_wasm_filter_entry.";
            NF_WASM_LIST_ATTACHMENTS 7 list_attachments(List) by namespace,
                "List attachments: struct nf_wasm_list of struct nf_wasm_attachment_entry.";
            NF_WASM_RUN 8 run(Run) by namespace,
                "Execute a filter on given bytes, with no hook: struct nf_wasm_run.";
            NF_WASM_RELEASE 9 release(Select) by namespace,
                "Let a quarantined filter run again: struct nf_wasm_select.";
            NF_WASM_GUEST_TEST 10 guest_test(GuestTest) by tester,
                "Tests of the engine: struct nf_wasm_guest_test. Only with guest_test=1.";
        }
    };
}

macro_rules! numbers {
    ($($constant:ident $number:literal $handler:ident($request:ident) by $caller:ident,
        $what:literal;)*) => {
        $(
            #[doc = $what]
            pub const $constant: u32 = io($number);
        )*

        /// Name, number without type and base, and purpose of each ioctl.
        pub const IOCTLS: &[(&str, u32, &str)] =
            &[$((stringify!($constant), $number, $what)),*];
    };
}

nf_wasm_ioctls!(numbers);

/// The version of this interface, [`Info::abi_version`].
pub const ABI_VERSION: u32 = 1;

/// Trap policy: accept the packet.
pub const TRAP_ACCEPT: u32 = 0;
/// Trap policy: drop the packet.
pub const TRAP_DROP: u32 = 1;
/// Added to a trap policy: restore the instance from the snapshot before it decides a packet again.
pub const TRAP_RELOAD: u32 = 1 << 8;

/// [`Load::tier`]: as native code if possible, otherwise interpreted.
pub const TIER_AUTO: u32 = 0;
/// [`Load::tier`]: interpreted.
pub const TIER_INTERP: u32 = 1;
/// [`Load::tier`]: as native code. The load fails if that is not possible.
pub const TIER_JIT: u32 = 2;
/// Bytes of [`FilterEntry::tier_reason`].
pub const TIER_REASON_LEN: usize = 96;

/// [`Load::quarantine`]: never.
pub const QUARANTINE_NEVER: u32 = u32::MAX;

/// Bytes of a name field: 63 and a terminating NUL. The unused rest is zero.
pub const NAME_LEN: usize = 64;
/// `IFNAMSIZ`.
pub const DEVICE_LEN: usize = 16;

/// A buffer for the text of a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Log {
    /// In: address of a buffer for UTF-8 text, or 0.
    pub buf: u64,
    /// In: bytes of the buffer.
    pub len: u32,
    /// Out: bytes of text written, without a NUL. A longer text is cut off.
    pub used: u32,
}

/// Selects a filter: by `id`, or, if that is 0, by `name`.
///
/// Errors: `ENOENT` no such filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Select {
    /// In: bytes of this struct.
    pub size: u32,
    /// In: the filter's id, or 0.
    pub id: u32,
    /// In: the filter's name, if `id` is 0.
    pub name: [u8; NAME_LEN],
    /// In: must be 0.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Text of a refusal.
    pub log: Log,
}

/// The result of `NF_WASM_INFO`. The kernel module writes all fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Info {
    /// In: bytes of this struct. Out: bytes of the kernel module's struct.
    pub size: u32,
    /// [`ABI_VERSION`] of the kernel module.
    pub abi_version: u32,
    /// [`super::guest::VERSION`] of the kernel module.
    pub guest_version: u32,
    /// CPUs for which each filter has an instance.
    pub cpus: u32,
    /// Set of the capabilities that can be granted.
    pub capabilities: u64,
    /// Version of the kernel module, text with NUL.
    pub version: [u8; 32],
    /// Release of the kernel that the kernel module was built for, text with NUL.
    pub built_for: [u8; 64],
    /// See `limits.rs` for this and the following.
    pub max_module_bytes: u32,
    /// Functions that a module may define.
    pub max_functions: u32,
    /// Imports.
    pub max_imports: u32,
    /// Exports.
    pub max_exports: u32,
    /// Data segments.
    pub max_data_segments: u32,
    /// Elements of a table.
    pub max_table_elements: u32,
    /// Pages of 64 KiB of a linear memory.
    pub max_memory_pages: u32,
    /// Nested blocks.
    pub max_nesting: u32,
    /// Bytes of a name inside a module.
    pub max_name_bytes: u32,
    /// Filters in a network namespace.
    pub max_filters: u32,
    /// Attachments in a network namespace.
    pub max_attachments: u32,
    /// Bytes of a window.
    pub max_snaplen: u32,
    /// Bytes of a window if the operator sets none.
    pub default_snaplen: u32,
    /// Consecutive traps until quarantine if the operator sets none.
    pub default_quarantine: u32,
    /// Fuel for one packet if the operator sets none.
    pub default_fuel: u64,
    /// Maximum fuel for one packet.
    pub max_fuel: u64,
    /// Maximum bytes of kernel stack that a load has used since `insmod`.
    pub load_stack_peak: u32,
    /// Bytes of kernel stack that a load has.
    pub load_stack_size: u32,
    /// Allocations on the packet path since `insmod`. If it is not 0, that is a bug.
    pub packet_path_allocations: u64,
    /// Requirements on Wasm modules: set of `ADMISSION_*`.
    pub admission: u32,
    /// Number of digests on the list of Wasm modules that need no signature.
    pub allowed_digests: u32,
    /// Bytes of a signature.
    pub max_signature_bytes: u32,
    /// 0.
    pub reserved: u32,
    /// Maximum fuel of all filters together that a packet passes at one hook.
    pub max_hook_fuel: u64,
}

/// [`Info::admission`]: a Wasm module must be signed with a key that the kernel trusts, or its
/// digest must be on the list.
pub const ADMISSION_SIGNATURE: u32 = 1 << 0;
/// [`Info::admission`]: the kernel is locked down. A Wasm module must be signed, and the list of
/// digests is ignored.
pub const ADMISSION_LOCKED_DOWN: u32 = 1 << 1;

/// A hook to attach to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Hook {
    /// One of the `FAMILY_*` numbers.
    pub family: u32,
    /// One of the `HOOK_*` numbers of that family.
    pub hook: u32,
    /// Netfilter priority: lower runs earlier.
    pub priority: i32,
    /// Must be 0.
    pub reserved: u32,
    /// The device's name with NUL for [`FAMILY_NETDEV`], all zero otherwise.
    pub device: [u8; DEVICE_LEN],
}

/// Load a filter and attach it, or do neither.
///
/// Errors beyond the common ones: `EEXIST` the name is taken; `ENOEXEC` not a valid Wasm module;
/// `EACCES` an import needs a capability that `capabilities` does not have; `EFBIG` over a limit;
/// `ENODEV` no such device; `ENOSPC` a table is full; `EKEYREJECTED` the module is not signed but
/// has to be, or the signature is not the module's; `ENOKEY`, `ENOPKG` it has to be signed, but the
/// kernel does not trust the key, or cannot check the signature; `EBADMSG` the signature is
/// malformed; `EOPNOTSUPP` also: [`TIER_JIT`], and an instance cannot be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Load {
    /// In: bytes of this struct.
    pub size: u32,
    /// In: must be 0.
    pub flags: u32,
    /// In: the filter's name: letters, digits, `.`, `_`, `-`. It begins with a letter or digit, and
    /// is not only digits, so that it differs from an id.
    pub name: [u8; NAME_LEN],
    /// In: address of the Wasm binary.
    pub module: u64,
    /// In: bytes of the Wasm binary.
    pub module_len: u32,
    /// In: [`TRAP_ACCEPT`] or [`TRAP_DROP`], with or without [`TRAP_RELOAD`].
    pub trap_policy: u32,
    /// In: set of granted capabilities.
    pub capabilities: u64,
    /// In: fuel for one packet; 0 for the default.
    pub fuel: u64,
    /// In: bytes of the window; 0 for the default.
    pub snaplen: u32,
    /// In: consecutive traps until quarantine; 0 for the default, or [`QUARANTINE_NEVER`].
    pub quarantine: u32,
    /// In: address of an array of [`Hook`].
    pub hooks: u64,
    /// In: number of elements in the array.
    pub hook_count: u32,
    /// In: bytes of one element, `sizeof(struct nf_wasm_hook)`.
    pub hook_size: u32,
    /// Out: the new filter's id.
    pub id: u32,
    /// In: restore an instance from the snapshot after each so many packets; 0 for never.
    pub recycle: u32,
    /// Text of a refusal.
    pub log: Log,
    /// In: address of a detached PKCS#7 signature of the Wasm binary, in DER, or 0. It is checked
    /// even if none is required.
    pub signature: u64,
    /// In: bytes of the signature; 0 if there is none.
    pub signature_len: u32,
    /// In: the requested tier: one of `TIER_*`.
    pub tier: u32,
}

/// [`Replace::set`]: set `capabilities`.
pub const REPLACE_CAPABILITIES: u32 = 1 << 0;
/// [`Replace::set`]: set `fuel`.
pub const REPLACE_FUEL: u32 = 1 << 1;
/// [`Replace::set`]: set `snaplen`.
pub const REPLACE_SNAPLEN: u32 = 1 << 2;
/// [`Replace::set`]: set `trap_policy`.
pub const REPLACE_TRAP_POLICY: u32 = 1 << 3;
/// [`Replace::set`]: set `quarantine`.
pub const REPLACE_QUARANTINE: u32 = 1 << 4;
/// [`Replace::set`]: set `tier`.
pub const REPLACE_TIER: u32 = 1 << 5;
/// [`Replace::set`]: set `recycle`.
pub const REPLACE_RECYCLE: u32 = 1 << 6;

/// Swap a filter's program. Attachments, id and counters stay; a quarantine ends. Either the old
/// program or the new one decides each packet.
///
/// Errors: those of [`Load`], and `ENOENT` no such filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Replace {
    /// In: bytes of this struct.
    pub size: u32,
    /// In: the filter's id, or 0.
    pub id: u32,
    /// In: the filter's name, if `id` is 0.
    pub name: [u8; NAME_LEN],
    /// In: must be 0.
    pub flags: u32,
    /// In: the settings to change: set of `REPLACE_*`. The filter keeps the others.
    pub set: u32,
    /// In: address of the Wasm binary.
    pub module: u64,
    /// In: bytes of the Wasm binary.
    pub module_len: u32,
    /// As in [`Load`].
    pub trap_policy: u32,
    /// As in [`Load`].
    pub capabilities: u64,
    /// As in [`Load`].
    pub fuel: u64,
    /// As in [`Load`].
    pub snaplen: u32,
    /// As in [`Load`].
    pub quarantine: u32,
    /// Text of a refusal.
    pub log: Log,
    /// As in [`Load`].
    pub signature: u64,
    /// As in [`Load`].
    pub signature_len: u32,
    /// As in [`Load`].
    pub tier: u32,
    /// As in [`Load`].
    pub recycle: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// Attach a filter to a hook.
///
/// Errors: `ENOENT` no such filter; `ENODEV` no such device; `ENOSPC` the table of attachments is
/// full; `EEXIST` the filter is already attached there with this priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Attach {
    /// In: bytes of this struct.
    pub size: u32,
    /// In: the filter's id, or 0.
    pub id: u32,
    /// In: the filter's name, if `id` is 0.
    pub name: [u8; NAME_LEN],
    /// In: must be 0.
    pub flags: u32,
    /// Out: the new attachment's id.
    pub attachment: u32,
    /// In: the hook.
    pub hook: Hook,
    /// Text of a refusal.
    pub log: Log,
}

/// Undo one attachment.
///
/// Errors: `ENOENT` no such attachment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Detach {
    /// In: bytes of this struct.
    pub size: u32,
    /// In: must be 0.
    pub flags: u32,
    /// In: the attachment's id.
    pub attachment: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Text of a refusal.
    pub log: Log,
}

/// Read a table.
///
/// The kernel module writes at most `capacity` entries of `entry_size` bytes each. If the caller's
/// entry is longer than the kernel module's, the rest is zero. If `count` is above `capacity`, the
/// array was too small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct List {
    /// In: bytes of this struct.
    pub size: u32,
    /// In: must be 0.
    pub flags: u32,
    /// In: address of an array of entries.
    pub entries: u64,
    /// In: bytes of the caller's entry.
    pub entry_size: u32,
    /// In: number of entries of the array.
    pub capacity: u32,
    /// Out: number of entries of the table.
    pub count: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// Counters. `packets` = `accepted` + `dropped`, including decisions by the trap policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Packets that passed through the filter.
    pub packets: u64,
    /// Their bytes, from the network header on.
    pub bytes: u64,
    /// Packets that were accepted.
    pub accepted: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Of `packets`, those that the trap policy decided because the filter was quarantined.
    pub quarantined: u64,
    /// Of `packets`, those that the trap policy decided, by [`super::trap::Trap`].
    pub traps: [u64; super::trap::Trap::COUNT],
    /// Fuel used by all packets together.
    pub fuel_total: u64,
    /// Minimum fuel that a packet used; 0 if none ran.
    pub fuel_min: u64,
    /// Maximum fuel that a packet used.
    pub fuel_max: u64,
}

/// [`FilterEntry::origin`]: no signature was required. The Wasm module has no trusted signature,
/// and its digest is not on the list.
pub const ORIGIN_UNCHECKED: u32 = 0;
/// [`FilterEntry::origin`]: the Wasm module was signed with a key that the kernel trusts.
pub const ORIGIN_SIGNATURE: u32 = 1;
/// [`FilterEntry::origin`]: the Wasm module's digest was on the list.
pub const ORIGIN_ALLOWLIST: u32 = 2;
/// Bytes of a digest (SHA-256).
pub const DIGEST_LEN: usize = 32;

/// [`FilterEntry::state`]: the filter runs.
pub const STATE_ACTIVE: u32 = 0;
/// [`FilterEntry::state`]: it trapped too often, and its trap policy decides instead.
pub const STATE_QUARANTINED: u32 = 1;

/// One filter in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FilterEntry {
    /// Its id, unique in the namespace as long as the kernel module is loaded.
    pub id: u32,
    /// [`STATE_ACTIVE`] or [`STATE_QUARANTINED`].
    pub state: u32,
    /// Its name with NUL.
    pub name: [u8; NAME_LEN],
    /// [`TRAP_ACCEPT`] or [`TRAP_DROP`], with or without [`TRAP_RELOAD`].
    pub trap_policy: u32,
    /// Bytes of its window.
    pub snaplen: u32,
    /// Consecutive traps until quarantine.
    pub quarantine: u32,
    /// Number of its attachments.
    pub attachments: u32,
    /// Its granted capabilities.
    pub capabilities: u64,
    /// The capabilities that the program imports from.
    pub capabilities_used: u64,
    /// Fuel for one packet.
    pub fuel: u64,
    /// Bytes of the Wasm binary.
    pub module_bytes: u32,
    /// Number of replacements of the program.
    pub replaced: u32,
    /// Bytes of kernel memory for each instance. Each online CPU has one.
    pub memory_per_cpu: u64,
    /// Sum of its attachments, past ones included.
    pub counters: Counters,
    /// Number of CPUs with an instance. An online CPU has none if memory ran out at its bring-up.
    /// On such a CPU the trap policy decides, and `internal` traps are counted.
    pub instances: u32,
    /// Why the Wasm module was admitted: one of `ORIGIN_*`.
    pub origin: u32,
    /// SHA-256 of the Wasm binary.
    pub digest: [u8; DIGEST_LEN],
    /// The requested tier: one of `TIER_*`.
    pub tier: u32,
    /// Number of `instances` that run as native code: all or none.
    pub compiled: u32,
    /// Why they do not, unless `tier` forbids it: text with NUL.
    pub tier_reason: [u8; TIER_REASON_LEN],
    /// Bytes of kernel memory that all instances share: the Wasm binary, the translation or the
    /// native code, and the snapshot that instances begin as.
    pub memory_shared: u64,
    /// Number of times that instances of the program were restored from the snapshot.
    pub reloads: u64,
    /// Packets after which an instance is restored, or 0.
    pub recycle: u32,
    /// 0.
    pub reserved: u32,
}

/// One attachment in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct AttachmentEntry {
    /// Its id, unique in the namespace as long as the kernel module is loaded.
    pub id: u32,
    /// The filter's id.
    pub filter: u32,
    /// The hook.
    pub hook: Hook,
    /// Index of the device, or 0.
    pub ifindex: u32,
    /// 0.
    pub reserved: u32,
    /// The attachment's counters.
    pub counters: Counters,
}

/// [`Run::trap`] if the filter returned a verdict.
pub const NO_TRAP: u32 = u32::MAX;

/// Execute a filter on given bytes, with no hook, in a fresh instance. Nothing is counted.
///
/// Errors: those of [`Load`] if a module is given, and `ENOENT` no such filter; `EMSGSIZE` the
/// packet is empty or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Run {
    /// In: bytes of this struct.
    pub size: u32,
    /// In: the filter's id, or 0.
    pub id: u32,
    /// In: the filter's name, if `id` is 0; all zero to run `module`.
    pub name: [u8; NAME_LEN],
    /// In: address of a Wasm binary, or 0 if a filter is selected.
    pub module: u64,
    /// In: bytes of the Wasm binary.
    pub module_len: u32,
    /// In: bytes of the window for `module`; 0 for the default.
    pub snaplen: u32,
    /// In: set of capabilities granted to `module`.
    pub capabilities: u64,
    /// In: fuel for `module`; 0 for the default.
    pub fuel: u64,
    /// In: address of the packet, from its network header on.
    pub packet: u64,
    /// In: bytes of the packet.
    pub packet_len: u32,
    /// In: must be 0.
    pub flags: u32,
    /// In: [`FAMILY_IPV4`], [`FAMILY_IPV6`] or [`FAMILY_NETDEV`].
    pub family: u32,
    /// In: the hook in the context.
    pub hook: u32,
    /// In: the packet's mark. Out: the mark that the filter left.
    pub mark: u32,
    /// Out: the verdict; 0 if the filter trapped.
    pub verdict: i32,
    /// Out: number of a [`super::trap::Trap`], or [`NO_TRAP`].
    pub trap: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Out: fuel used.
    pub fuel_used: u64,
    /// The filter's log, in lines.
    pub output: Log,
    /// Text of a refusal.
    pub log: Log,
    /// As in [`Load`], of `module`.
    pub signature: u64,
    /// As in [`Load`].
    pub signature_len: u32,
    /// In: the requested tier of `module`: one of `TIER_*`. Out: the tier in which it or the filter
    /// ran.
    pub tier: u32,
}
