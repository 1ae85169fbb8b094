// SPDX-License-Identifier: GPL-2.0-only
/* Drops UDP datagrams of which more than nine bytes in ten are the same. */
#include "scratch.h"

SEC("netfilter")
int filter(struct bpf_nf_ctx *ctx)
{
	struct bpf_dynptr packet;
	struct scratch *scratch;
	const struct iphdr *ip;
	struct iphdr copy;
	__u32 len, i, most = 0;

	ip = open_packet(ctx, &packet, &copy);
	if (!ip || !begins(ip, IPPROTO_UDP))
		return NF_ACCEPT;
	scratch = get_scratch();
	if (!scratch)
		return NF_ACCEPT;
	len = copy_rest(ctx, &packet, ip->ihl * 4 + 8, scratch->bytes, SCRATCH_BYTES);
	__builtin_memset(scratch->counts, 0, sizeof(scratch->counts));
	for (i = 0; i < SCRATCH_BYTES && i < len; i++)
		scratch->counts[scratch->bytes[i]]++;
	for (i = 0; i < 256; i++)
		if (scratch->counts[i] > most)
			most = scratch->counts[i];
	return most * 10 > len * 9 ? NF_DROP : NF_ACCEPT;
}
