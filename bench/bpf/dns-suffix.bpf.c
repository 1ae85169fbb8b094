// SPDX-License-Identifier: GPL-2.0-only
/* Drops DNS queries for the names of a map and all that ends in one of them. */
#include "names.h"

/* Bytes of a name; a power of two. */
#define NAME 256
#define LABELS 16

struct scratch {
	__u8 name[NAME];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline bool is_listed(struct scratch *scratch, __u32 len)
{
	__u64 hash = NO_BYTES;
	__u8 starts[LABELS];
	int labels = 0, label, i;
	__u32 at = 0, end;

	for (i = 0; i < LABELS; i++) {
		__u8 bytes;

		if (at >= len)
			return false;
		bytes = scratch->name[at & (NAME - 1)];
		if (!bytes)
			break;
		if (bytes > 63)
			return false;
		starts[i & (LABELS - 1)] = at;
		labels++;
		at += 1 + bytes;
	}
	end = at;
	for (label = LABELS - 1; label >= 0; label--) {
		__u32 start, byte;

		if (label >= labels)
			continue;
		start = starts[label & (LABELS - 1)];
		if (end != at)
			hash = push(hash, '.');
		for (i = 1; i < 64; i++) {
			byte = end - i;
			if (byte <= start)
				break;
			hash = push(hash, scratch->name[byte & (NAME - 1)]);
		}
		/* No name on the list has one label. */
		if (end != at && bpf_map_lookup_elem(&entries, &hash))
			return true;
		end = start;
	}
	return false;
}

SEC("netfilter")
int filter(struct bpf_nf_ctx *ctx)
{
	struct bpf_dynptr packet;
	struct scratch *scratch;
	const struct iphdr *ip;
	const struct udphdr *udp;
	struct iphdr ip_copy;
	struct udphdr udp_copy;
	__u32 key = 0, from, len;

	if (!open_packet(ctx, &packet))
		return NF_ACCEPT;
	ip = bpf_dynptr_slice(&packet, 0, &ip_copy, sizeof(ip_copy));
	if (!ip || ip->protocol != IPPROTO_UDP || ip->frag_off & bpf_htons(0x1fff))
		return NF_ACCEPT;
	from = ip->ihl * 4;
	udp = bpf_dynptr_slice(&packet, from, &udp_copy, sizeof(udp_copy));
	if (!udp || udp->dest != bpf_htons(53))
		return NF_ACCEPT;
	scratch = bpf_map_lookup_elem(&scratches, &key);
	if (!scratch)
		return NF_ACCEPT;
	/* Behind the headers of UDP and DNS. */
	len = copy_rest(ctx, &packet, from + 8 + 12, scratch->name, sizeof(scratch->name));
	return is_listed(scratch, len) ? NF_DROP : NF_ACCEPT;
}
