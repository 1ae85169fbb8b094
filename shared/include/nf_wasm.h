/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * The ioctls of /dev/nf_wasm, which loads WebAssembly packet filters.
 *
 * Every struct begins with its size as the caller knows it. If the caller's struct is
 * longer than the kernel module's, the rest must be zero. If it is shorter, the
 * rest is not written. So old callers work with a new kernel module, and new
 * callers with an old one.
 *
 * Errors of every command:
 *
 *  - ENOTTY:     the kernel module does not know the command
 *  - E2BIG:      the struct is longer than the kernel module's, and the rest is
 *                not zero
 *  - EINVAL:     a field is invalid, or size is smaller than the first version
 *                of the struct
 *  - EOPNOTSUPP: a flag or an enumeration has a value that the kernel module
 *                does not know
 *  - EPERM:      the caller lacks CAP_NET_ADMIN
 *  - EFAULT:     a pointer is invalid
 *  - ENOMEM:     memory ran out; nothing was changed
 *
 * A command acts in the caller's network namespace at the time of the call.
 */
#ifndef _UAPI_NF_WASM_H
#define _UAPI_NF_WASM_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define NF_WASM_TYPE 'N'
#define NF_WASM_BASE 0xA0

/* begin ioctls: generated from shared/src/abi/ioctl.rs */
/* Describe the kernel module: struct nf_wasm_info. Needs no capability. */
#define NF_WASM_INFO _IO(NF_WASM_TYPE, NF_WASM_BASE + 0)
/* Load a filter and attach it: struct nf_wasm_load. */
#define NF_WASM_LOAD _IO(NF_WASM_TYPE, NF_WASM_BASE + 1)
/* Swap a filter's program: struct nf_wasm_replace. */
#define NF_WASM_REPLACE _IO(NF_WASM_TYPE, NF_WASM_BASE + 2)
/* Detach and free a filter: struct nf_wasm_select. */
#define NF_WASM_UNLOAD _IO(NF_WASM_TYPE, NF_WASM_BASE + 3)
/* Attach a filter to a hook: struct nf_wasm_attach. */
#define NF_WASM_ATTACH _IO(NF_WASM_TYPE, NF_WASM_BASE + 4)
/* Undo one attachment: struct nf_wasm_detach. */
#define NF_WASM_DETACH _IO(NF_WASM_TYPE, NF_WASM_BASE + 5)
/* List filters: struct nf_wasm_list of struct nf_wasm_filter_entry. */
#define NF_WASM_LIST_FILTERS _IO(NF_WASM_TYPE, NF_WASM_BASE + 6)
/* List attachments: struct nf_wasm_list of struct nf_wasm_attachment_entry. */
#define NF_WASM_LIST_ATTACHMENTS _IO(NF_WASM_TYPE, NF_WASM_BASE + 7)
/* Execute a filter on given bytes, with no hook: struct nf_wasm_run. */
#define NF_WASM_RUN _IO(NF_WASM_TYPE, NF_WASM_BASE + 8)
/* Let a quarantined filter run again: struct nf_wasm_select. */
#define NF_WASM_RELEASE _IO(NF_WASM_TYPE, NF_WASM_BASE + 9)
/* Tests of the engine: struct nf_wasm_guest_test. Only with guest_test=1. */
#define NF_WASM_GUEST_TEST _IO(NF_WASM_TYPE, NF_WASM_BASE + 10)
/* end ioctls */

/* The version of this interface, nf_wasm_info.abi_version. */
#define NF_WASM_ABI_VERSION 1

/* Trap policies: the decision for packets on which a filter traps. */
#define NF_WASM_TRAP_ACCEPT 0
#define NF_WASM_TRAP_DROP 1
/*
 * Added to a trap policy: restore the instance from the snapshot before it
 * decides a packet again.
 */
#define NF_WASM_TRAP_RELOAD (1u << 8)

/* nf_wasm_load.tier: as native code if possible, otherwise interpreted. */
#define NF_WASM_TIER_AUTO 0
/* Interpreted. */
#define NF_WASM_TIER_INTERP 1
/* As native code. The load fails if that is not possible. */
#define NF_WASM_TIER_JIT 2
/* Bytes of nf_wasm_filter_entry.tier_reason. */
#define NF_WASM_TIER_REASON_LEN 96

/* nf_wasm_load.quarantine: never. */
#define NF_WASM_QUARANTINE_NEVER 0xffffffffu

/* begin hooks: generated from shared/src/abi/hook.rs */
#define NF_WASM_FAMILY_INET 1 /* NFPROTO_INET */
#define NF_WASM_FAMILY_IPV4 2 /* NFPROTO_IPV4 */
#define NF_WASM_FAMILY_NETDEV 5 /* NFPROTO_NETDEV */
#define NF_WASM_FAMILY_IPV6 10 /* NFPROTO_IPV6 */
#define NF_WASM_HOOK_PREROUTING 0 /* NF_INET_PRE_ROUTING */
#define NF_WASM_HOOK_INPUT 1 /* NF_INET_LOCAL_IN */
#define NF_WASM_HOOK_FORWARD 2 /* NF_INET_FORWARD */
#define NF_WASM_HOOK_OUTPUT 3 /* NF_INET_LOCAL_OUT */
#define NF_WASM_HOOK_POSTROUTING 4 /* NF_INET_POST_ROUTING */
#define NF_WASM_HOOK_INGRESS 0 /* NF_NETDEV_INGRESS */
#define NF_WASM_HOOK_EGRESS 1 /* NF_NETDEV_EGRESS */
/* end hooks */

/* Bytes of a name: 63 and a terminating NUL. The unused rest is zero. */
#define NF_WASM_NAME_LEN 64
/* IFNAMSIZ. */
#define NF_WASM_DEVICE_LEN 16
/* Bytes of a digest (SHA-256). */
#define NF_WASM_DIGEST_LEN 32

/* Capabilities that a filter may be granted. The names are import modules. */
/* begin capabilities: generated from shared/src/abi/capability.rs */
#define NF_WASM_CAP_PACKET (1u << 0) /* nfw.packet */
#define NF_WASM_CAP_LOG (1u << 1) /* nfw.log */
#define NF_WASM_CAP_CLOCK (1u << 2) /* nfw.clock */
#define NF_WASM_CAP_MARK (1u << 3) /* nfw.mark */
/* end capabilities */

/* Kinds of traps: indices into nf_wasm_counters.traps, and nf_wasm_run.trap. */
#define NF_WASM_TRAP_KIND_UNREACHABLE 0
#define NF_WASM_TRAP_KIND_MEMORY_OUT_OF_BOUNDS 1
#define NF_WASM_TRAP_KIND_TABLE_OUT_OF_BOUNDS 2
#define NF_WASM_TRAP_KIND_INDIRECT_CALL_TO_NULL 3
#define NF_WASM_TRAP_KIND_BAD_SIGNATURE 4
#define NF_WASM_TRAP_KIND_INTEGER_DIVISION_BY_ZERO 5
#define NF_WASM_TRAP_KIND_INTEGER_OVERFLOW 6
#define NF_WASM_TRAP_KIND_BAD_CONVERSION_TO_INTEGER 7
#define NF_WASM_TRAP_KIND_STACK_OVERFLOW 8
#define NF_WASM_TRAP_KIND_OUT_OF_FUEL 9
#define NF_WASM_TRAP_KIND_GROWTH_LIMITED 10
#define NF_WASM_TRAP_KIND_UNKNOWN_VERDICT 11
#define NF_WASM_TRAP_KIND_HOST 12
#define NF_WASM_TRAP_KIND_REENTERED 13
#define NF_WASM_TRAP_KIND_PACKET 14
#define NF_WASM_TRAP_KIND_INTERNAL 15
#define NF_WASM_TRAP_KINDS 16

/* nf_wasm_run.trap if the filter returned a verdict. */
#define NF_WASM_NO_TRAP 0xffffffffu

/**
 * struct nf_wasm_log - A buffer for the text of a refusal.
 * @buf: In: address of a buffer for UTF-8 text, or 0.
 * @len: In: bytes of the buffer.
 * @used: Out: bytes of text written, without a NUL. A longer text is cut off.
 */
struct nf_wasm_log {
	__aligned_u64 buf;
	__u32 len;
	__u32 used;
};

/**
 * struct nf_wasm_select - Selects a filter: by @id, or, if that is 0, by @name.
 * @size: In: bytes of this struct.
 * @id: In: the filter's id, or 0.
 * @name: In: the filter's name, if @id is 0.
 * @flags: In: must be 0.
 * @reserved: Must be 0.
 * @log: Text of a refusal.
 *
 * Errors: ENOENT no such filter.
 */
struct nf_wasm_select {
	__u32 size;
	__u32 id;
	char name[NF_WASM_NAME_LEN];
	__u32 flags;
	__u32 reserved;
	struct nf_wasm_log log;
};

/*
 * nf_wasm_info.admission: a Wasm module must be signed with a key that the
 * kernel trusts, or its digest must be on the list.
 */
#define NF_WASM_ADMISSION_SIGNATURE (1u << 0)
/*
 * The kernel is locked down. A Wasm module must be signed, and the list of
 * digests is ignored.
 */
#define NF_WASM_ADMISSION_LOCKED_DOWN (1u << 1)

/**
 * struct nf_wasm_info - The result of NF_WASM_INFO.
 * @size: In: bytes of this struct. Out: bytes of the kernel module's struct.
 * @abi_version: NF_WASM_ABI_VERSION of the kernel module.
 * @guest_version: Version of the guest interface.
 * @cpus: CPUs for which each filter has an instance.
 * @capabilities: Set of the capabilities that can be granted.
 * @version: Version of the kernel module, text with NUL.
 * @built_for: Release of the kernel that the kernel module was built for, text
 *             with NUL.
 * @max_module_bytes: Bytes of a Wasm binary.
 * @max_functions: Functions that a module may define.
 * @max_imports: Imports.
 * @max_exports: Exports.
 * @max_data_segments: Data segments.
 * @max_table_elements: Elements of a table.
 * @max_memory_pages: Pages of 64 KiB of a linear memory.
 * @max_nesting: Nested blocks.
 * @max_name_bytes: Bytes of a name inside a module.
 * @max_filters: Filters in a network namespace.
 * @max_attachments: Attachments in a network namespace.
 * @max_snaplen: Bytes of a window.
 * @default_snaplen: Bytes of a window if the operator sets none.
 * @default_quarantine: Consecutive traps until quarantine if the operator sets
 *                      none.
 * @default_fuel: Fuel for one packet if the operator sets none.
 * @max_fuel: Maximum fuel for one packet.
 * @load_stack_peak: Maximum bytes of kernel stack that a load has used since
 *                   insmod.
 * @load_stack_size: Bytes of kernel stack that a load has.
 * @packet_path_allocations: Allocations on the packet path since insmod. If it
 *                           is not 0, that is a bug.
 * @admission: Requirements on Wasm modules: set of NF_WASM_ADMISSION_*.
 * @allowed_digests: Number of digests on the list of Wasm modules that need no
 *                   signature.
 * @max_signature_bytes: Bytes of a signature.
 * @reserved: 0.
 * @max_hook_fuel: Maximum fuel of all filters together that a packet passes at
 *                 one hook.
 *
 * The kernel module writes all fields.
 */
struct nf_wasm_info {
	__u32 size;
	__u32 abi_version;
	__u32 guest_version;
	__u32 cpus;
	__aligned_u64 capabilities;
	char version[32];
	char built_for[64];
	__u32 max_module_bytes;
	__u32 max_functions;
	__u32 max_imports;
	__u32 max_exports;
	__u32 max_data_segments;
	__u32 max_table_elements;
	__u32 max_memory_pages;
	__u32 max_nesting;
	__u32 max_name_bytes;
	__u32 max_filters;
	__u32 max_attachments;
	__u32 max_snaplen;
	__u32 default_snaplen;
	__u32 default_quarantine;
	__aligned_u64 default_fuel;
	__aligned_u64 max_fuel;
	__u32 load_stack_peak;
	__u32 load_stack_size;
	__aligned_u64 packet_path_allocations;
	__u32 admission;
	__u32 allowed_digests;
	__u32 max_signature_bytes;
	__u32 reserved;
	__aligned_u64 max_hook_fuel;
};

/**
 * struct nf_wasm_hook - A hook to attach to.
 * @family: One of NF_WASM_FAMILY_*.
 * @hook: One of NF_WASM_HOOK_* of that family.
 * @priority: Netfilter priority: lower runs earlier.
 * @reserved: Must be 0.
 * @device: The device's name with NUL for NF_WASM_FAMILY_NETDEV, all zero
 *          otherwise.
 */
struct nf_wasm_hook {
	__u32 family;
	__u32 hook;
	__s32 priority;
	__u32 reserved;
	char device[NF_WASM_DEVICE_LEN];
};

/**
 * struct nf_wasm_load - Load a filter and attach it, or do neither.
 * @size: In: bytes of this struct.
 * @flags: In: must be 0.
 * @name: In: the filter's name: letters, digits, '.', '_', '-'. It begins with
 *        a letter or digit, and is not only digits, so that it differs from an
 *        id.
 * @module: In: address of the Wasm binary.
 * @module_len: In: bytes of the Wasm binary.
 * @trap_policy: In: NF_WASM_TRAP_ACCEPT or NF_WASM_TRAP_DROP, with or without
 *               NF_WASM_TRAP_RELOAD.
 * @capabilities: In: set of granted capabilities.
 * @fuel: In: fuel for one packet; 0 for the default.
 * @snaplen: In: bytes of the window; 0 for the default.
 * @quarantine: In: consecutive traps until quarantine; 0 for the default, or
 *              NF_WASM_QUARANTINE_NEVER.
 * @hooks: In: address of an array of struct nf_wasm_hook.
 * @hook_count: In: number of elements in the array.
 * @hook_size: In: bytes of one element, sizeof(struct nf_wasm_hook).
 * @id: Out: the new filter's id.
 * @recycle: In: restore an instance from the snapshot after each so many
 *           packets; 0 for never.
 * @log: Text of a refusal.
 * @signature: In: address of a detached PKCS#7 signature of the Wasm binary, in
 *             DER, or 0. It is checked even if none is required.
 * @signature_len: In: bytes of the signature; 0 if there is none.
 * @tier: In: the requested tier: one of NF_WASM_TIER_*.
 *
 * Errors: EEXIST the name is taken; ENOEXEC not a valid Wasm module; EACCES an
 * import needs a capability that @capabilities does not have; EFBIG over a
 * limit; ENODEV no such device; ENOSPC a table is full, or the filters at a hook
 * would have more fuel together than nf_wasm_info.max_hook_fuel; EKEYREJECTED
 * the module is not signed but has to be, or the signature is not the module's;
 * ENOKEY, ENOPKG it has to be signed, but the kernel does not trust the key, or
 * cannot check the signature; EBADMSG the signature is malformed; EOPNOTSUPP
 * also: NF_WASM_TIER_JIT, and an instance cannot be compiled.
 */
struct nf_wasm_load {
	__u32 size;
	__u32 flags;
	char name[NF_WASM_NAME_LEN];
	__aligned_u64 module;
	__u32 module_len;
	__u32 trap_policy;
	__aligned_u64 capabilities;
	__aligned_u64 fuel;
	__u32 snaplen;
	__u32 quarantine;
	__aligned_u64 hooks;
	__u32 hook_count;
	__u32 hook_size;
	__u32 id;
	__u32 recycle;
	struct nf_wasm_log log;
	__aligned_u64 signature;
	__u32 signature_len;
	__u32 tier;
};

/* nf_wasm_replace.set: set the field of that name. */
#define NF_WASM_REPLACE_CAPABILITIES (1u << 0)
#define NF_WASM_REPLACE_FUEL (1u << 1)
#define NF_WASM_REPLACE_SNAPLEN (1u << 2)
#define NF_WASM_REPLACE_TRAP_POLICY (1u << 3)
#define NF_WASM_REPLACE_QUARANTINE (1u << 4)
#define NF_WASM_REPLACE_TIER (1u << 5)
#define NF_WASM_REPLACE_RECYCLE (1u << 6)

/**
 * struct nf_wasm_replace - Swap a filter's program.
 * @size: In: bytes of this struct.
 * @id: In: the filter's id, or 0.
 * @name: In: the filter's name, if @id is 0.
 * @flags: In: must be 0.
 * @set: In: the settings to change: set of NF_WASM_REPLACE_*. The filter keeps
 *       the others.
 * @module: In: address of the Wasm binary.
 * @module_len: In: bytes of the Wasm binary.
 * @trap_policy: As in struct nf_wasm_load.
 * @capabilities: As in struct nf_wasm_load.
 * @fuel: As in struct nf_wasm_load.
 * @snaplen: As in struct nf_wasm_load.
 * @quarantine: As in struct nf_wasm_load.
 * @log: Text of a refusal.
 * @signature: As in struct nf_wasm_load.
 * @signature_len: As in struct nf_wasm_load.
 * @tier: As in struct nf_wasm_load.
 * @recycle: As in struct nf_wasm_load.
 * @reserved: Must be 0.
 *
 * Attachments, id and counters stay; a quarantine ends. Either the old program
 * or the new one decides each packet.
 *
 * Errors: those of NF_WASM_LOAD, and ENOENT no such filter.
 */
struct nf_wasm_replace {
	__u32 size;
	__u32 id;
	char name[NF_WASM_NAME_LEN];
	__u32 flags;
	__u32 set;
	__aligned_u64 module;
	__u32 module_len;
	__u32 trap_policy;
	__aligned_u64 capabilities;
	__aligned_u64 fuel;
	__u32 snaplen;
	__u32 quarantine;
	struct nf_wasm_log log;
	__aligned_u64 signature;
	__u32 signature_len;
	__u32 tier;
	__u32 recycle;
	__u32 reserved;
};

/**
 * struct nf_wasm_attach - Attach a filter to a hook.
 * @size: In: bytes of this struct.
 * @id: In: the filter's id, or 0.
 * @name: In: the filter's name, if @id is 0.
 * @flags: In: must be 0.
 * @attachment: Out: the new attachment's id.
 * @hook: In: the hook.
 * @log: Text of a refusal.
 *
 * Errors: ENOENT no such filter; ENODEV no such device; ENOSPC the table of
 * attachments is full, or the filters at the hook would have more fuel together
 * than nf_wasm_info.max_hook_fuel; EEXIST the filter is already attached there
 * with this priority.
 */
struct nf_wasm_attach {
	__u32 size;
	__u32 id;
	char name[NF_WASM_NAME_LEN];
	__u32 flags;
	__u32 attachment;
	struct nf_wasm_hook hook;
	struct nf_wasm_log log;
};

/**
 * struct nf_wasm_detach - Undo one attachment.
 * @size: In: bytes of this struct.
 * @flags: In: must be 0.
 * @attachment: In: the attachment's id.
 * @reserved: Must be 0.
 * @log: Text of a refusal.
 *
 * Errors: ENOENT no such attachment.
 */
struct nf_wasm_detach {
	__u32 size;
	__u32 flags;
	__u32 attachment;
	__u32 reserved;
	struct nf_wasm_log log;
};

/**
 * struct nf_wasm_list - Read a table.
 * @size: In: bytes of this struct.
 * @flags: In: must be 0.
 * @entries: In: address of an array of entries.
 * @entry_size: In: bytes of the caller's entry.
 * @capacity: In: number of entries of the array.
 * @count: Out: number of entries of the table.
 * @reserved: Must be 0.
 *
 * The kernel module writes at most @capacity entries of @entry_size bytes each.
 * If the caller's entry is longer than the kernel module's, the rest is zero.
 * If @count is above @capacity, the array was too small.
 */
struct nf_wasm_list {
	__u32 size;
	__u32 flags;
	__aligned_u64 entries;
	__u32 entry_size;
	__u32 capacity;
	__u32 count;
	__u32 reserved;
};

/**
 * struct nf_wasm_counters - Counters of a filter or an attachment.
 * @packets: Packets that passed through the filter: @accepted + @dropped,
 *           including decisions by the trap policy.
 * @bytes: Their bytes, from the network header on.
 * @accepted: Packets that were accepted.
 * @dropped: Packets that were dropped.
 * @quarantined: Of @packets, those that the trap policy decided because the
 *               filter was quarantined.
 * @traps: Of @packets, those that the trap policy decided, by
 *         NF_WASM_TRAP_KIND_*.
 * @fuel_total: Fuel used by all packets together.
 * @fuel_min: Minimum fuel that a packet used; 0 if none ran.
 * @fuel_max: Maximum fuel that a packet used.
 */
struct nf_wasm_counters {
	__aligned_u64 packets;
	__aligned_u64 bytes;
	__aligned_u64 accepted;
	__aligned_u64 dropped;
	__aligned_u64 quarantined;
	__aligned_u64 traps[NF_WASM_TRAP_KINDS];
	__aligned_u64 fuel_total;
	__aligned_u64 fuel_min;
	__aligned_u64 fuel_max;
};

/* nf_wasm_filter_entry.state: the filter runs. */
#define NF_WASM_STATE_ACTIVE 0
/* It trapped too often, and its trap policy decides instead. */
#define NF_WASM_STATE_QUARANTINED 1

/*
 * nf_wasm_filter_entry.origin: no signature was required. The Wasm module has
 * no trusted signature, and its digest is not on the list.
 */
#define NF_WASM_ORIGIN_UNCHECKED 0
/* The Wasm module was signed with a key that the kernel trusts. */
#define NF_WASM_ORIGIN_SIGNATURE 1
/* Its digest was on the list. */
#define NF_WASM_ORIGIN_ALLOWLIST 2

/**
 * struct nf_wasm_filter_entry - One filter in a listing.
 * @id: Its id, unique in the namespace as long as the kernel module is loaded.
 * @state: NF_WASM_STATE_ACTIVE or NF_WASM_STATE_QUARANTINED.
 * @name: Its name with NUL.
 * @trap_policy: NF_WASM_TRAP_ACCEPT or NF_WASM_TRAP_DROP, with or without
 *               NF_WASM_TRAP_RELOAD.
 * @snaplen: Bytes of its window.
 * @quarantine: Consecutive traps until quarantine.
 * @attachments: Number of its attachments.
 * @capabilities: Its granted capabilities.
 * @capabilities_used: The capabilities that the program imports from.
 * @fuel: Fuel for one packet.
 * @module_bytes: Bytes of the Wasm binary.
 * @replaced: Number of replacements of the program.
 * @memory_per_cpu: Bytes of kernel memory for each instance. Each online CPU
 *                  has one.
 * @counters: Sum of its attachments, past ones included.
 * @instances: Number of CPUs with an instance. An online CPU has none if memory
 *             ran out at its bring-up. On such a CPU the trap policy decides,
 *             and internal traps are counted.
 * @origin: Why the Wasm module was admitted: one of NF_WASM_ORIGIN_*.
 * @digest: SHA-256 of the Wasm binary.
 * @tier: The requested tier: one of NF_WASM_TIER_*.
 * @compiled: Number of @instances that run as native code: all or none.
 * @tier_reason: Why they do not, unless @tier forbids it: text with NUL.
 * @memory_shared: Bytes of kernel memory that all instances share: the Wasm
 *                 binary, the translation or the native code, and the snapshot
 *                 that instances begin as.
 * @reloads: Number of times that instances of the program were restored from
 *           the snapshot.
 * @recycle: Packets after which an instance is restored, or 0.
 * @reserved: 0.
 */
struct nf_wasm_filter_entry {
	__u32 id;
	__u32 state;
	char name[NF_WASM_NAME_LEN];
	__u32 trap_policy;
	__u32 snaplen;
	__u32 quarantine;
	__u32 attachments;
	__aligned_u64 capabilities;
	__aligned_u64 capabilities_used;
	__aligned_u64 fuel;
	__u32 module_bytes;
	__u32 replaced;
	__aligned_u64 memory_per_cpu;
	struct nf_wasm_counters counters;
	__u32 instances;
	__u32 origin;
	__u8 digest[NF_WASM_DIGEST_LEN];
	__u32 tier;
	__u32 compiled;
	char tier_reason[NF_WASM_TIER_REASON_LEN];
	__aligned_u64 memory_shared;
	__aligned_u64 reloads;
	__u32 recycle;
	__u32 reserved;
};

/**
 * struct nf_wasm_attachment_entry - One attachment in a listing.
 * @id: Its id, unique in the namespace as long as the kernel module is loaded.
 * @filter: The filter's id.
 * @hook: The hook.
 * @ifindex: Index of the device, or 0.
 * @reserved: 0.
 * @counters: The attachment's counters.
 */
struct nf_wasm_attachment_entry {
	__u32 id;
	__u32 filter;
	struct nf_wasm_hook hook;
	__u32 ifindex;
	__u32 reserved;
	struct nf_wasm_counters counters;
};

/**
 * struct nf_wasm_run - Execute a filter on given bytes, with no hook.
 * @size: In: bytes of this struct.
 * @id: In: the filter's id, or 0.
 * @name: In: the filter's name, if @id is 0; all zero to run @module.
 * @module: In: address of a Wasm binary, or 0 if a filter is selected.
 * @module_len: In: bytes of the Wasm binary.
 * @snaplen: In: bytes of the window for @module; 0 for the default.
 * @capabilities: In: set of capabilities granted to @module.
 * @fuel: In: fuel for @module; 0 for the default.
 * @packet: In: address of the packet, from its network header on.
 * @packet_len: In: bytes of the packet.
 * @flags: In: must be 0.
 * @family: In: NF_WASM_FAMILY_IPV4, NF_WASM_FAMILY_IPV6 or
 *          NF_WASM_FAMILY_NETDEV.
 * @hook: In: the hook in the context.
 * @mark: In: the packet's mark. Out: the mark that the filter left.
 * @verdict: Out: the verdict; 0 if the filter trapped.
 * @trap: Out: one of NF_WASM_TRAP_KIND_*, or NF_WASM_NO_TRAP.
 * @reserved: Must be 0.
 * @fuel_used: Out: fuel used.
 * @output: The filter's log, in lines.
 * @log: Text of a refusal.
 * @signature: As in struct nf_wasm_load, of @module.
 * @signature_len: As in struct nf_wasm_load.
 * @tier: In: the requested tier of @module: one of NF_WASM_TIER_*. Out: the
 *        tier in which it or the filter ran.
 *
 * The filter runs in a fresh instance and nothing is counted.
 *
 * Errors: those of NF_WASM_LOAD if a module is given, and ENOENT no such
 * filter; EMSGSIZE the packet is empty or too long.
 */
struct nf_wasm_run {
	__u32 size;
	__u32 id;
	char name[NF_WASM_NAME_LEN];
	__aligned_u64 module;
	__u32 module_len;
	__u32 snaplen;
	__aligned_u64 capabilities;
	__aligned_u64 fuel;
	__aligned_u64 packet;
	__u32 packet_len;
	__u32 flags;
	__u32 family;
	__u32 hook;
	__u32 mark;
	__s32 verdict;
	__u32 trap;
	__u32 reserved;
	__aligned_u64 fuel_used;
	struct nf_wasm_log output;
	struct nf_wasm_log log;
	__aligned_u64 signature;
	__u32 signature_len;
	__u32 tier;
};

/* nf_wasm_guest_test.operation: make an instance, run its start function. */
#define NF_WASM_GUEST_TEST_INSTANTIATE 0
/* Let later instances import from @instance under the module name @name. */
#define NF_WASM_GUEST_TEST_REGISTER 1
/* Call the function that @instance exports as @name. */
#define NF_WASM_GUEST_TEST_INVOKE 2
/* Read, write the global that @instance exports as @name. */
#define NF_WASM_GUEST_TEST_GET 3
#define NF_WASM_GUEST_TEST_SET 4
/* Copy bytes of the memory that @instance exports as @name. */
#define NF_WASM_GUEST_TEST_READ 5
/* Maximum number of arguments, and of results, of an invoked function. */
#define NF_WASM_GUEST_TEST_VALUES 32
/* Maximum length of a name, in bytes. */
#define NF_WASM_GUEST_TEST_NAME_LEN 256
/* Maximum number of bytes of memory per read. */
#define NF_WASM_GUEST_TEST_READ_BYTES 65536

/**
 * struct nf_wasm_guest_test - Tests the engine with modules that are no filters.
 * @size: In: bytes of this struct.
 * @operation: In: one of the NF_WASM_GUEST_TEST_* operations.
 * @instance: In: number of an instance. Out, of NF_WASM_GUEST_TEST_INSTANTIATE:
 *            the new one's.
 * @name_len: In: bytes of @name.
 * @name: In: a name, any UTF-8.
 * @module: In: address of a Wasm binary.
 * @module_len: In: bytes of the Wasm binary.
 * @flags: In: must be 0.
 * @fuel: In: fuel for a function, or for the start function; 0 for the maximum,
 *        which is that of nfw_init.
 * @fuel_used: Out: fuel used.
 * @values: In: arguments, or the global's new value. Out: results, or the
 *          global's value. A number is in the low bits. A null reference is 0.
 *          Any other externref is the number that the caller passed. Any other
 *          funcref is 1, and cannot be passed.
 * @value_count: In: number of arguments. Out: number of results.
 * @trap: Out: one of NF_WASM_TRAP_KIND_*, or NF_WASM_NO_TRAP.
 * @offset: In: offset in the memory to read from.
 * @data: In: address of a buffer for the bytes that are read.
 * @data_len: In: bytes to read.
 * @tier: In, of NF_WASM_GUEST_TEST_INVOKE: NF_WASM_TIER_JIT compiles the
 *        function if possible. Otherwise it is interpreted. Out: the tier that
 *        it ran in.
 * @log: Text of a refusal.
 *
 * See docs/ioctl-interface.md.
 */
struct nf_wasm_guest_test {
	__u32 size;
	__u32 operation;
	__u32 instance;
	__u32 name_len;
	char name[NF_WASM_GUEST_TEST_NAME_LEN];
	__aligned_u64 module;
	__u32 module_len;
	__u32 flags;
	__aligned_u64 fuel;
	__aligned_u64 fuel_used;
	__aligned_u64 values[NF_WASM_GUEST_TEST_VALUES];
	__u32 value_count;
	__u32 trap;
	__aligned_u64 offset;
	__aligned_u64 data;
	__u32 data_len;
	__u32 tier;
	struct nf_wasm_log log;
};

#endif /* _UAPI_NF_WASM_H */
