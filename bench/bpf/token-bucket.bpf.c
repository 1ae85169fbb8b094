// SPDX-License-Identifier: GPL-2.0-only
/* Lets each source send 10,000 packets a second, and bursts of a thousand. */
#include "bench.h"

/* Nanoseconds of a source's allowance: those that one packet uses, and those that can be saved up.
 * */
#define PACKET 100000ULL
#define BURST (1000 * PACKET)

/* For each source, the time up to which its packets have used its allowance. A lost update is a
 * packet that is not counted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} sources SEC(".maps");

SEC("netfilter")
int filter(struct bpf_nf_ctx *ctx)
{
	struct bpf_dynptr packet;
	const struct iphdr *ip;
	struct iphdr copy;
	__u64 now, next, *until;
	__u32 source;

	ip = open_packet(ctx, &packet, &copy);
	if (!ip)
		return NF_ACCEPT;
	source = ip->saddr;
	now = bpf_ktime_get_ns();
	until = bpf_map_lookup_elem(&sources, &source);
	if (!until) {
		next = now + PACKET;
		bpf_map_update_elem(&sources, &source, &next, BPF_ANY);
		return NF_ACCEPT;
	}
	next = (*until > now ? *until : now) + PACKET;
	if (next > now + BURST)
		return NF_DROP;
	*until = next;
	return NF_ACCEPT;
}
