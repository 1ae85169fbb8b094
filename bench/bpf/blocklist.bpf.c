// SPDX-License-Identifier: GPL-2.0-only
/* Drops the flows of a map. */
#include "bench.h"

/* All in network byte order. */
struct flow {
	__u32 source;
	__u32 destination;
	__u16 source_port;
	__u16 destination_port;
	__u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10000);
	__type(key, struct flow);
	__type(value, __u8);
} entries SEC(".maps");

SEC("netfilter")
int filter(struct bpf_nf_ctx *ctx)
{
	struct bpf_dynptr packet;
	const struct iphdr *ip;
	const __u16 *ports;
	struct iphdr ip_copy;
	__u16 ports_copy[2];
	struct flow flow;

	ip = open_packet(ctx, &packet, &ip_copy);
	if (!ip || !begins(ip, ip->protocol))
		return NF_ACCEPT;
	ports = bpf_dynptr_slice(&packet, ip->ihl * 4, ports_copy, sizeof(ports_copy));
	if (!ports)
		return NF_ACCEPT;
	flow.source = ip->saddr;
	flow.destination = ip->daddr;
	flow.source_port = ports[0];
	flow.destination_port = ports[1];
	flow.protocol = ip->protocol;
	return bpf_map_lookup_elem(&entries, &flow) ? NF_DROP : NF_ACCEPT;
}
