// SPDX-License-Identifier: GPL-2.0-only
/* What a filter is told of a packet, read from the sk_buff. */
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/nospec.h>
#include <linux/skbuff.h>
#include <net/ip.h>
#include <net/ipv6.h>

#include "helpers.h"

#define NO_TRANSPORT U32_MAX

/*
 * Where the network header begins, from skb->data. Frames that a packet socket sends may come to
 * egress with a header that was never found; they begin where their data does.
 */
static int packet_start(const struct sk_buff *skb)
{
	int start = skb_network_offset(skb);

	return likely(start >= 0 && start <= skb->len) ? start : 0;
}

static void transport_of_ipv4(struct nf_wasm_context *context, const struct iphdr *ip)
{
	if (ip->version != 4 || ip->ihl < 5)
		return;
	/* A later fragment has no transport header. */
	if (ip->frag_off & htons(IP_OFFSET))
		return;
	if (ip->ihl * 4 >= context->packet_len)
		return;
	context->transport_offset = ip->ihl * 4;
	context->transport_protocol = ip->protocol;
}

/* For a header in pieces: apart, because its copy makes the caller's frame large and guarded. */
static noinline void transport_of_ipv4_pieces(struct nf_wasm_context *context,
					      const struct sk_buff *skb, int start)
{
	struct iphdr copy;

	if (!skb_copy_bits(skb, start, &copy, sizeof(copy)))
		transport_of_ipv4(context, &copy);
}

static void find_transport_ipv4(struct nf_wasm_context *context, const struct sk_buff *skb,
				int start)
{
	if (likely(start + sizeof(struct iphdr) <= skb_headlen(skb)))
		transport_of_ipv4(context, (const void *)(skb->data + start));
	else
		transport_of_ipv4_pieces(context, skb, start);
}

static noinline void find_transport_ipv6(struct nf_wasm_context *context,
					 const struct sk_buff *skb, int start)
{
	const struct ipv6hdr *ip;
	struct ipv6hdr copy;
	__be16 fragment = 0;
	u8 protocol;
	int offset;

	ip = skb_header_pointer(skb, start, sizeof(copy), &copy);
	if (!ip || ip->version != 6)
		return;
	protocol = ip->nexthdr;
	offset = start + sizeof(copy);
	if (ipv6_ext_hdr(protocol)) {
		offset = ipv6_skip_exthdr(skb, offset, &protocol, &fragment);
		if (offset < 0 || (fragment & htons(IP6_OFFSET)) || protocol == NEXTHDR_NONE)
			return;
	}
	offset -= start;
	if (offset >= context->packet_len)
		return;
	context->transport_offset = offset;
	context->transport_protocol = protocol;
}

/* 0 for none, otherwise 1 + enum ip_conntrack_info. */
static u32 conntrack_state(const struct sk_buff *skb)
{
#if IS_ENABLED(CONFIG_NF_CONNTRACK)
	unsigned long nfct = skb_get_nfct(skb);

	if (nfct)
		return 1 + (nfct & NFCT_INFOMASK);
#endif
	return 0;
}

void nf_wasm_context_fill(struct nf_wasm_context *context, const struct sk_buff *skb,
			  const struct nf_hook_state *state)
{
	int start = packet_start(skb);

	context->version = 0;
	context->size = 0;
	context->hook = state->hook;
	context->family = state->pf;
	context->packet_len = skb->len - start;
	context->window_len = 0;
	context->transport_offset = NO_TRANSPORT;
	context->transport_protocol = NO_TRANSPORT;
	context->in_ifindex = state->in ? state->in->ifindex : 0;
	context->out_ifindex = state->out ? state->out->ifindex : 0;
	context->mark = skb->mark;
	context->conntrack_state = conntrack_state(skb);

	if (state->pf == NFPROTO_IPV4 ||
	    (state->pf == NFPROTO_NETDEV && skb->protocol == htons(ETH_P_IP)))
		find_transport_ipv4(context, skb, start);
	else if (state->pf == NFPROTO_IPV6 ||
		 (state->pf == NFPROTO_NETDEV && skb->protocol == htons(ETH_P_IPV6)))
		find_transport_ipv6(context, skb, start);
}

/* Pages and fragments of @skb that skb_copy_bits() passes on its way to byte @end. */
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
	int start = packet_start(skb);
	u32 packet_len = skb->len - start;
	unsigned long linear = skb_headlen(skb);
	unsigned long end, inside;

	if (offset > packet_len || len > packet_len - offset)
		return -EFAULT;
	start += offset;
	end = start + len;
	if (likely(end <= linear)) {
		/* @offset and @len may be the guest's: nothing is copied on a mispredicted check. */
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

	/* A netdev hook sees whatever the frame says; here the IP version has to. */
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
