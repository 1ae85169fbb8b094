// SPDX-License-Identifier: GPL-2.0-only
/* Drops packets from the networks of a map. */
#include "bench.h"

struct network {
	__u32 bits;
	__u32 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 10000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network);
	__type(value, __u8);
} entries SEC(".maps");

SEC("netfilter")
int filter(struct bpf_nf_ctx *ctx)
{
	struct bpf_dynptr packet;
	const struct iphdr *ip;
	struct iphdr copy;
	struct network source = { .bits = 32 };

	ip = open_packet(ctx, &packet, &copy);
	if (!ip)
		return NF_ACCEPT;
	source.address = ip->saddr;
	return bpf_map_lookup_elem(&entries, &source) ? NF_DROP : NF_ACCEPT;
}
