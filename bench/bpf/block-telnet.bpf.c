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

	ip = open_packet(ctx, &packet, &ip_copy);
	if (!ip || !begins(ip, IPPROTO_TCP))
		return NF_ACCEPT;
	tcp = bpf_dynptr_slice(&packet, ip->ihl * 4, &tcp_copy, sizeof(tcp_copy));
	return tcp && tcp->dest != bpf_htons(23) ? NF_ACCEPT : NF_DROP;
}
