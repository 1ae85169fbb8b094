// SPDX-License-Identifier: GPL-2.0-only
/* Drops TCP to port 23, and TCP whose port cannot be seen. */
#include "bench.h"

SEC("netfilter")
int filter(struct bpf_nf_ctx *ctx)
{
	struct bpf_dynptr packet;
	const struct iphdr *ip;
	const struct tcphdr *tcp;
	struct iphdr ip_copy;
	struct tcphdr tcp_copy;

	if (!open_packet(ctx, &packet))
		return NF_ACCEPT;
	ip = bpf_dynptr_slice(&packet, 0, &ip_copy, sizeof(ip_copy));
	if (!ip || ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(0x1fff))
		return NF_ACCEPT;
	tcp = bpf_dynptr_slice(&packet, ip->ihl * 4, &tcp_copy, sizeof(tcp_copy));
	return tcp && tcp->dest != bpf_htons(23) ? NF_ACCEPT : NF_DROP;
}
