// SPDX-License-Identifier: GPL-2.0-only
/* Drops UDP datagrams of which nine bytes in ten are the same. */
#include "bench.h"

#define MOST 1500

struct scratch {
	__u16 counts[256];
	__u8 payload[MOST];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

SEC("netfilter")
int filter(struct bpf_nf_ctx *ctx)
{
	struct bpf_dynptr packet;
	struct scratch *scratch;
	const struct iphdr *ip;
	struct iphdr copy;
	__u32 key = 0, len, i, most = 0;

	if (!open_packet(ctx, &packet))
		return NF_ACCEPT;
	ip = bpf_dynptr_slice(&packet, 0, &copy, sizeof(copy));
	if (!ip || ip->protocol != IPPROTO_UDP || ip->frag_off & bpf_htons(0x1fff))
		return NF_ACCEPT;
	scratch = bpf_map_lookup_elem(&scratches, &key);
	if (!scratch)
		return NF_ACCEPT;
	len = copy_rest(ctx, &packet, ip->ihl * 4 + 8, scratch->payload, MOST);
	__builtin_memset(scratch->counts, 0, sizeof(scratch->counts));
	for (i = 0; i < MOST && i < len; i++)
		scratch->counts[scratch->payload[i]]++;
	for (i = 0; i < 256; i++)
		if (scratch->counts[i] > most)
			most = scratch->counts[i];
	return most * 10 > len * 9 ? NF_DROP : NF_ACCEPT;
}
