// SPDX-License-Identifier: GPL-2.0-only
/* Fills in a packet's context from the sk_buff, and runs native code on packets. */
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/nospec.h>
#include <linux/skbuff.h>
#include <linux/unaligned.h>
#include <net/ip.h>
#include <net/ipv6.h>
#if IS_ENABLED(CONFIG_NF_CONNTRACK)
#include <net/netfilter/nf_conntrack.h>
#endif

#include "../kernel_ext/helpers.h"
#include "skb.h"

/* As in shared/src/abi/guest.rs: values of transport_protocol if no transport header is known. */
#define NO_TRANSPORT U32_MAX
#define LATER_FRAGMENT (U32_MAX - 1)
#define TRANSPORT_NOT_FOUND (U32_MAX - 2)

static __always_inline void transport_of_ipv4(struct nf_wasm_context *context,
					     const struct iphdr *ip, u32 packet_len)
{
	/* Version 4, and 5 to 15 words of header. */
	u32 words = *(const u8 *)ip - 0x40;

	if (unlikely(words - 5 > 10 || words * 4 >= packet_len ||
		     (ip->frag_off & htons(IP_OFFSET)))) {
		if (words - 5 <= 10 && (ip->frag_off & htons(IP_OFFSET)))
			context->transport_protocol = LATER_FRAGMENT;
		else
			context->transport_protocol = TRANSPORT_NOT_FOUND;
		return;
	}
	context->transport_offset = words * 4;
	context->transport_protocol = ip->protocol;
}

/*
 * For a nonlinear header. Not inline: the copy on the stack would enlarge the caller's frame, and
 * add a stack guard to it.
 */
static noinline void transport_of_ipv4_pieces(struct nf_wasm_context *context,
					      const struct sk_buff *skb, int start)
{
	struct iphdr copy;

	if (skb_copy_bits(skb, start, &copy, sizeof(copy)))
		context->transport_protocol = TRANSPORT_NOT_FOUND;
	else
		transport_of_ipv4(context, &copy, context->packet_len);
}

static void find_transport_ipv4(struct nf_wasm_context *context, const struct sk_buff *skb,
				int start)
{
	if (likely(start + sizeof(struct iphdr) <= skb_headlen(skb)))
		transport_of_ipv4(context, (const void *)(skb->data + start), context->packet_len);
	else
		transport_of_ipv4_pieces(context, skb, start);
}

/*
 * Like ipv6_skip_exthdr(), which does not say why it fails. @protocol is that of the first
 * extension header. Moves @offset past the extension headers. Returns the transport header's
 * protocol, or why there is no transport header.
 */
static u32 skip_extension_headers(const struct sk_buff *skb, u8 protocol, unsigned int *offset)
{
	int headers = 0;

	while (ipv6_ext_hdr(protocol)) {
		/* No extension header is shorter than this one. */
		const struct frag_hdr *header;
		const struct ipv6_opt_hdr *length;
		struct frag_hdr copy;

		if (protocol == NEXTHDR_NONE)
			return NO_TRANSPORT;
		if (headers++ == IP6_MAX_EXT_HDRS_CNT)
			return TRANSPORT_NOT_FOUND;
		header = skb_header_pointer(skb, *offset, sizeof(copy), &copy);
		if (!header)
			return TRANSPORT_NOT_FOUND;
		length = (const void *)header;
		if (protocol == NEXTHDR_FRAGMENT) {
			if (header->frag_off & htons(IP6_OFFSET))
				return LATER_FRAGMENT;
			*offset += sizeof(*header);
		} else if (protocol == NEXTHDR_AUTH) {
			*offset += ipv6_authlen(length);
		} else {
			*offset += ipv6_optlen(length);
		}
		protocol = header->nexthdr;
	}
	return protocol;
}

static noinline void find_transport_ipv6(struct nf_wasm_context *context,
					 const struct sk_buff *skb, int start)
{
	unsigned int offset = start + sizeof(struct ipv6hdr);
	const struct ipv6hdr *ip;
	struct ipv6hdr copy;
	u32 protocol;

	ip = skb_header_pointer(skb, start, sizeof(copy), &copy);
	if (!ip || ip->version != 6) {
		context->transport_protocol = TRANSPORT_NOT_FOUND;
		return;
	}
	protocol = skip_extension_headers(skb, ip->nexthdr, &offset);
	offset -= start;
	if (protocol <= U8_MAX && offset < context->packet_len)
		context->transport_offset = offset;
	else if (protocol <= U8_MAX)
		protocol = TRANSPORT_NOT_FOUND;
	context->transport_protocol = protocol;
}

/*
 * 0 for none, otherwise 1 + enum ip_conntrack_info. Before connection tracking has seen a packet, a
 * rule (iptables' CT, nftables' "ct zone set") may have attached a template, which is not a
 * connection. A template's state is always IP_CT_NEW, so nf_ct_is_template() is called for that
 * state only.
 */
static __always_inline void fill_conntrack(struct nf_wasm_context *context,
					   const struct sk_buff *skb)
{
	unsigned long nfct = 0;

#if IS_ENABLED(CONFIG_NF_CONNTRACK)
	nfct = skb_get_nfct(skb);
	if ((nfct & NFCT_INFOMASK) == IP_CT_NEW && (nfct & NFCT_PTRMASK) &&
	    nf_ct_is_template((const struct nf_conn *)(nfct & NFCT_PTRMASK)))
		nfct = 0;
#endif
	/* If there is no connection, the info bits are 0 as well, except for untracked packets. */
	context->conntrack_state = !!nfct + (nfct & NFCT_INFOMASK);
}

/* The fields that do not depend on the packet's bytes. */
static __always_inline void fill_metadata(struct nf_wasm_context *context,
					  const struct sk_buff *skb,
					  const struct nf_hook_state *state, u32 packet_len)
{
	context->hook = state->hook;
	context->family = state->pf;
	context->packet_len = packet_len;
	context->transport_offset = NO_TRANSPORT;
	context->transport_protocol = NO_TRANSPORT;
	context->in_ifindex = state->in ? state->in->ifindex : 0;
	context->out_ifindex = state->out ? state->out->ifindex : 0;
	context->mark = skb->mark;
	fill_conntrack(context, skb);
}

/* Fills in the transport header's offset and protocol, or why there is none. */
static noinline void find_transport(struct nf_wasm_context *context, const struct sk_buff *skb,
				    const struct nf_hook_state *state, unsigned int start)
{
	u32 pf = state->pf;

	if (pf == NFPROTO_IPV4 || (pf == NFPROTO_NETDEV && skb->protocol == htons(ETH_P_IP)))
		find_transport_ipv4(context, skb, start);
	else if (pf == NFPROTO_IPV6 ||
		 (pf == NFPROTO_NETDEV && skb->protocol == htons(ETH_P_IPV6)))
		find_transport_ipv6(context, skb, start);
}

static void fill(struct nf_wasm_context *context, const struct sk_buff *skb,
		 const struct nf_hook_state *state, unsigned int start, u32 packet_len)
{
	fill_metadata(context, skb, state, packet_len);
	find_transport(context, skb, state, start);
}

void nf_wasm_context_fill(struct nf_wasm_context *context, const struct sk_buff *skb,
			  const struct nf_hook_state *state)
{
	unsigned int start = nf_wasm_packet_start(skb);

	context->version = 0;
	context->size = 0;
	context->window_len = 0;
	fill(context, skb, state, start, skb->len - start);
}

static __always_inline void copy_word(u8 *to, const u8 *from)
{
	put_unaligned(get_unaligned((const u64 *)from), (u64 *)to);
}

static __always_inline void copy_words(u8 *to, const u8 *from, int words)
{
#pragma GCC unroll 8
	for (int word = 0; word < words; word++)
		copy_word(to + 8 * word, from + 8 * word);
}

/*
 * An inline memcpy() for a small window. If the length is no multiple of the block size, the last
 * block overlaps the one before it.
 */
static __always_inline void copy_window(u8 *to, const u8 *from, u32 len)
{
	if (len >= 64) {
		u32 rest = len;

		for (; rest > 64; rest -= 64, to += 64, from += 64)
			copy_words(to, from, 8);
		copy_words(to + rest - 64, from + rest - 64, 8);
	} else if (len >= 32) {
		copy_words(to, from, 4);
		copy_words(to + len - 32, from + len - 32, 4);
	} else if (len >= 8) {
		for (; len > 8; len -= 8, to += 8, from += 8)
			copy_word(to, from);
		copy_word(to + len - 8, from + len - 8);
	} else {
		while (len--)
			*to++ = *from++;
	}
}

/* The largest window that is copied inline. */
#define SMALL_WINDOW 256

static __always_inline void fill_constants(struct nf_wasm_context *context, u32 window_len)
{
	context->version = NF_WASM_GUEST_VERSION;
	context->size = sizeof(*context);
	context->window_len = window_len;
}

/* Prepares the machine for a packet. Returns the window's length. */
static __always_inline u32 ready(struct nf_wasm_machine *machine, u32 snaplen, u32 packet_len)
{
	u32 window_len = min(packet_len, snaplen);

	machine->slots[NF_WASM_LEN_SLOT] = window_len;
	return window_len;
}

/* Linear bytes from the packet's start; negative if the start is nonlinear. */
static __always_inline s32 in_one_piece(const struct sk_buff *skb, u32 packet_len)
{
	return packet_len - skb->data_len;
}

static __always_inline const u8 *beginning(const struct sk_buff *skb, u32 packet_len)
{
	return skb->data + (skb->len - packet_len);
}

/* nf_wasm_run_on_copy() for all packets, out of line. */
static noinline u32 run_on_copy(const struct nf_wasm_call *call, const struct sk_buff *skb,
				const struct nf_hook_state *state, u32 packet_len)
{
	struct nf_wasm_context *context = call->context;
	struct nf_wasm_machine *machine = call->machine;
	u32 window_len = ready(machine, call->snaplen, packet_len);
	u32 window = min(window_len, call->window);
	unsigned int start = skb->len - packet_len;

	/* Clear the part of the previous packet's window that this packet's does not overwrite. */
	if (machine->shown > window)
		memset((u8 *)(context + 1) + window, 0, machine->shown - window);
	machine->shown = window;
	fill_constants(context, window_len);
	fill(context, skb, state, start, packet_len);
	if (skb_copy_bits(skb, start, context + 1, window))
		return NF_WASM_NO_PACKET;
	return call->run(machine, NULL);
}

u32 nf_wasm_run_on_copy(const struct nf_wasm_call *call, const struct sk_buff *skb,
			const struct nf_hook_state *state, u32 packet_len)
{
	struct nf_wasm_context *context = call->context;
	struct nf_wasm_machine *machine = call->machine;
	s32 room = in_one_piece(skb, packet_len);
	u32 window_len = ready(machine, call->snaplen, packet_len);
	u32 window = min(window_len, call->window);
	const u8 *packet = beginning(skb, packet_len);

	/*
	 * Inline only for the common case: a small linear IPv4 window, not shorter than the last
	 * one.
	 */
	if (unlikely(state->pf != NFPROTO_IPV4 || window > SMALL_WINDOW ||
		     room < (s32)sizeof(struct iphdr) || room < (s32)window ||
		     window < machine->shown))
		return run_on_copy(call, skb, state, packet_len);
	machine->shown = window;
	fill_constants(context, window_len);
	fill_metadata(context, skb, state, packet_len);
	transport_of_ipv4(context, (const void *)packet, packet_len);
	copy_window((u8 *)(context + 1), packet, window);
	return call->run(machine, NULL);
}

/*
 * Points @machine, which is that of @call, at the packet's bytes. Returns false if too few of them
 * are linear.
 */
static __always_inline bool look_at(const struct nf_wasm_call *call,
				    struct nf_wasm_machine *machine, const struct sk_buff *skb,
				    const struct nf_hook_state *state, u32 packet_len)
{
	u32 snaplen = call->snaplen;
	s32 room = min_t(s32, in_one_piece(skb, packet_len), snaplen);
	s32 short_of = call->least - 1 - room;
	unsigned long inside, packet;

	machine->state = state;
	if (unlikely(short_of >= 0))
		return false;
	/* A mispredicted check must not read the packet: clear its address (speculation). */
	OPTIMIZER_HIDE_VAR(short_of);
	inside = (long)(short_of >> 31);
	packet = (unsigned long)beginning(skb, packet_len) & inside;
	machine->window = (const void *)packet;
	machine->minus_end = -(s64)(packet + (room & inside));
	ready(machine, snaplen, packet_len);
	return true;
}

/* nf_wasm_run_in_place() for all packets and contexts, out of line. */
static noinline u32 run_in_place(const struct nf_wasm_call *call, const struct sk_buff *skb,
				 const struct nf_hook_state *state, u32 packet_len)
{
	struct nf_wasm_context *context = call->context;
	struct nf_wasm_machine *machine = call->machine;

	if (!look_at(call, machine, skb, state, packet_len))
		return NF_WASM_NOT_IN_PLACE;
	context->window_len = min(packet_len, call->snaplen);
	fill(context, skb, state, skb->len - packet_len, packet_len);
	return call->run_in_place(machine, NULL);
}

u32 nf_wasm_run_in_place(const struct nf_wasm_call *call, const struct sk_buff *skb,
			 const struct nf_hook_state *state, u32 packet_len)
{
	struct nf_wasm_context *context = call->context;
	struct nf_wasm_machine *machine = call->machine;

	if (call->fields == NF_WASM_FIELDS_COMMON) {
		if (unlikely(state->pf != NFPROTO_IPV4))
			return run_in_place(call, skb, state, packet_len);
		if (!look_at(call, machine, skb, state, packet_len))
			return NF_WASM_NOT_IN_PLACE;
		context->packet_len = packet_len;
		context->transport_offset = NO_TRANSPORT;
		context->transport_protocol = NO_TRANSPORT;
		transport_of_ipv4(context, machine->window, packet_len);
	} else if (call->fields == NF_WASM_FIELDS_NONE) {
		if (!look_at(call, machine, skb, state, packet_len))
			return NF_WASM_NOT_IN_PLACE;
	} else {
		return run_in_place(call, skb, state, packet_len);
	}
	return call->run_in_place(machine, NULL);
}

/* Counts pages and fragments of @skb that skb_copy_bits() visits up to byte @end. */
static int pieces_up_to(const struct sk_buff *skb, unsigned int end)
{
	int pieces = skb_shinfo(skb)->nr_frags;
	unsigned int at = skb_pagelen(skb);
	const struct sk_buff *fragment;

	skb_walk_frags(skb, fragment) {
		if (at >= end)
			break;
		pieces += 1 + skb_shinfo(fragment)->nr_frags;
		at += fragment->len;
	}
	return pieces;
}

int nf_wasm_skb_load(const struct sk_buff *skb, u32 offset, void *to, u32 len)
{
	unsigned int start = nf_wasm_packet_start(skb);
	u32 packet_len = skb->len - start;
	unsigned long linear = skb_headlen(skb);
	unsigned long end, inside;

	if (offset > packet_len || len > packet_len - offset)
		return -EFAULT;
	start += offset;
	end = start + len;
	if (likely(end <= linear)) {
		/*
		 * The guest may choose @offset and @len: a mispredicted check must not copy
		 * (speculation).
		 */
		inside = array_index_mask_nospec(end, linear + 1);
		memcpy(to, skb->data + (start & inside), len & inside);
		return 0;
	}
	barrier_nospec();
	if (skb_copy_bits(skb, start, to, len))
		return -EFAULT;
	return pieces_up_to(skb, start + len);
}

u32 nf_wasm_skb_mark(const struct sk_buff *skb)
{
	return skb->mark;
}

void nf_wasm_skb_set_mark(struct sk_buff *skb, u32 mark)
{
	skb->mark = mark;
}

struct sk_buff *nf_wasm_skb_new(const void *bytes, u32 len, u32 family, u32 mark)
{
	struct sk_buff *skb = alloc_skb(len, GFP_KERNEL);
	u8 version;

	if (!skb)
		return NULL;
	skb_put_data(skb, bytes, len);
	skb_reset_network_header(skb);
	skb->mark = mark;

	/* A netdev hook derives the protocol from the frame. Here it comes from the IP version. */
	version = len ? *(const u8 *)bytes >> 4 : 0;
	if (family == NFPROTO_IPV4 || (family == NFPROTO_NETDEV && version == 4))
		skb->protocol = htons(ETH_P_IP);
	else if (family == NFPROTO_IPV6 || (family == NFPROTO_NETDEV && version == 6))
		skb->protocol = htons(ETH_P_IPV6);
	return skb;
}

void nf_wasm_skb_free(struct sk_buff *skb)
{
	consume_skb(skb);
}
