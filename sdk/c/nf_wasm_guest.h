/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Write packet filters for nf_wasm in C, freestanding:
 *
 *	#include "nf_wasm_guest.h"
 *
 *	NFW_FILTER(ctx, pkt, len)
 *	{
 *		return ctx->transport_protocol == NFW_TCP ? NFW_DROP : NFW_ACCEPT;
 *	}
 *
 *	clang --target=wasm32 -O2 -nostdlib -Inf_wasm/sdk/c -Wl,--no-entry,-z,stack-size=8192 \
 *		-o filter.wasm filter.c
 *
 * Constructors run once, before everything else: this header exports _initialize, which calls them.
 *
 * A filter that calls a function of a capability (nfw_packet_*, nfw_log_*, nfw_clock_*, nfw_mark_*)
 * imports it. The operator must then grant the capability at load.
 *
 * Every CPU has its own instance with its own memory, and decides one packet at a time. So
 * variables need no locks.
 */
#ifndef NF_WASM_GUEST_H
#define NF_WASM_GUEST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NFW_VERSION 1

/* Verdicts. Any other number is the trap `unknown-verdict`. */
#define NFW_DROP 0
#define NFW_ACCEPT 1

/* Values of nfw_context.family and nfw_context.hook. */
/* begin hooks: generated from shared/src/abi/hook.rs */
#define NFW_IPV4 2 /* NFPROTO_IPV4 */
#define NFW_NETDEV 5 /* NFPROTO_NETDEV */
#define NFW_IPV6 10 /* NFPROTO_IPV6 */
#define NFW_PREROUTING 0 /* NF_INET_PRE_ROUTING */
#define NFW_INPUT 1 /* NF_INET_LOCAL_IN */
#define NFW_FORWARD 2 /* NF_INET_FORWARD */
#define NFW_OUTPUT 3 /* NF_INET_LOCAL_OUT */
#define NFW_POSTROUTING 4 /* NF_INET_POST_ROUTING */
#define NFW_INGRESS 0 /* NF_NETDEV_INGRESS */
#define NFW_EGRESS 1 /* NF_NETDEV_EGRESS */
/* end hooks */

/* Some values of nfw_context.transport_protocol. */
#define NFW_ICMP 1
#define NFW_TCP 6
#define NFW_UDP 17
#define NFW_ICMPV6 58

/*
 * transport_offset if the transport header is not known. transport_protocol then gives the reason.
 * NFW_NO_TRANSPORT: there is none (not IP, or no next header). NFW_LATER_FRAGMENT: it is in the
 * first fragment. NFW_TRANSPORT_NOT_FOUND, or any number that later versions add: there may be one,
 * but it was not found (cut off, too many extension headers). A filter that blocks traffic drops
 * these.
 */
#define NFW_NO_TRANSPORT UINT32_MAX
#define NFW_LATER_FRAGMENT (UINT32_MAX - 1)
#define NFW_TRANSPORT_NOT_FOUND (UINT32_MAX - 2)

/* Values of nfw_context.conntrack_state. */
#define NFW_CT_NONE 0
#define NFW_CT_ESTABLISHED 1
#define NFW_CT_RELATED 2
#define NFW_CT_NEW 3
#define NFW_CT_ESTABLISHED_REPLY 4
#define NFW_CT_RELATED_REPLY 5
#define NFW_CT_UNTRACKED 8

/*
 * At file scope: the number of bytes of a packet that the filter reads, from the network header on.
 * No more are copied into the window, unless the operator sets another snaplen.
 */
#define NFW_SNAPLEN(bytes)                                         \
	__asm__(".section .custom_section.nfw.manifest,\"\",@\n"    \
		".ascii \"{\\\"snaplen\\\": " #bytes "}\"\n")

/* The context of a packet. Offsets and lengths count from the network header. */
struct nfw_context {
	uint32_t version;
	uint32_t size;
	uint32_t hook;
	uint32_t family;
	uint32_t packet_len;
	uint32_t window_len;
	uint32_t transport_offset;
	uint32_t transport_protocol;
	uint32_t in_ifindex;
	uint32_t out_ifindex;
	uint32_t mark;
	uint32_t conntrack_state;
};

_Static_assert(sizeof(struct nfw_context) == 48, "the host writes 48 bytes");

/* The head of the filter function. It takes ctx, pkt and len, and returns a verdict. */
#define NFW_FILTER(ctx, pkt, len)                                                                  \
	__attribute__((export_name("nfw_filter"))) int32_t nfw_filter(                             \
		const struct nfw_context *ctx, const uint8_t *pkt, uint32_t len)

#define NFW_IMPORT(capability, function)                                                           \
	__attribute__((import_module(capability), import_name(function)))

/* begin capabilities: generated from shared/src/abi/capability.rs */

/* Capability nfw.packet: load packet bytes beyond the window. */

/* Bytes of the packet from its network header on. */
NFW_IMPORT("nfw.packet", "len")
int32_t nfw_packet_len(void);
/*
 * Copies bytes of the packet, also those beyond the window. Returns 0, or -14 (`EFAULT`) if the
 * packet ends before `offset + len`, or its bytes there are in a device's memory (device-memory
 * TCP): nothing of use is copied then.
 */
NFW_IMPORT("nfw.packet", "load")
int32_t nfw_packet_load(uint32_t offset, void *to, uint32_t len);

/* Capability nfw.log: write rate-limited lines to the kernel log. */

/*
 * Writes one line to the kernel log, prefixed with the filter's name. At most 256 bytes; what is
 * not printable ASCII becomes `?`. Rate-limited per filter. Returns the bytes taken. The kernel
 * log is that of the initial network namespace; lines from others get there only if its operator
 * sets `net.netfilter.nf_log_all_netns` to 1.
 */
NFW_IMPORT("nfw.log", "write")
int32_t nfw_log_write(const char *text, uint32_t len);

/* Capability nfw.clock: read the monotonic and the wall clock. */

/* Nanoseconds of `CLOCK_MONOTONIC`. */
NFW_IMPORT("nfw.clock", "monotonic")
uint64_t nfw_clock_monotonic(void);
/* Nanoseconds since 1970-01-01 00:00 UTC. */
NFW_IMPORT("nfw.clock", "realtime")
uint64_t nfw_clock_realtime(void);

/* Capability nfw.mark: read and set the packet's mark. */

/* The packet's mark. */
NFW_IMPORT("nfw.mark", "get")
uint32_t nfw_mark_get(void);
/* Sets the packet's mark. Returns 0. */
NFW_IMPORT("nfw.mark", "set")
int32_t nfw_mark_set(uint32_t mark);

/* end capabilities */

/* Whether the window has `bytes` bytes at `offset`. */
static inline int nfw_has(uint32_t len, uint32_t offset, uint32_t bytes)
{
	return offset <= len && bytes <= len - offset;
}

/* Read big-endian numbers. The caller has checked that the window has their bytes. */
static inline uint16_t nfw_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t nfw_be32(const uint8_t *at)
{
	return (uint32_t)nfw_be16(at) << 16 | nfw_be16(at + 2);
}

/*
 * Called once, before all other exports. The call of the constructors also keeps wasm-ld from
 * taking the filter for a command: then each export would run them again. If WASI's libc is
 * linked, its _initialize replaces this one.
 */
extern void __wasm_call_ctors(void);

__attribute__((weak, export_name("_initialize"))) void _initialize(void)
{
	__wasm_call_ctors();
}

/*
 * The host's buffer: the rest of the last page after stack and data, and more pages if that is not
 * enough. A filter with its own allocator defines NFW_OWN_BUF before it includes this header. It
 * may export its own nfw_buf. Without one the host appends pages.
 */
#ifndef NFW_OWN_BUF
extern unsigned char __heap_base;

__attribute__((weak, export_name("nfw_buf"))) void *nfw_buf(uint32_t bytes)
{
	const uint64_t page = 65536;
	const uint64_t start = ((uintptr_t)&__heap_base + 7) & ~(uint64_t)7;
	const uint64_t pages = (start + bytes + page - 1) / page;
	const uint64_t present = __builtin_wasm_memory_size(0);

	if (pages > present &&
	    __builtin_wasm_memory_grow(0, pages - present) == (size_t)-1)
		__builtin_trap();
	return (void *)(uintptr_t)start;
}
#endif

#ifdef __cplusplus
}
#endif

#endif /* NF_WASM_GUEST_H */
