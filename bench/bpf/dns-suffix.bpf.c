// SPDX-License-Identifier: GPL-2.0-only
/* Drops DNS queries for the names in a map, and for all names that end in one of them. */
#include "names.h"

/* Maximum bytes of a name. A power of two, so that `& (NAME - 1)` bounds an index. */
#define NAME 256
#define LABELS 16

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
		bytes = scratch->bytes[at & (NAME - 1)];
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
			hash = push(hash, scratch->bytes[byte & (NAME - 1)]);
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
	__u32 from, len;

	ip = open_packet(ctx, &packet, &ip_copy);
	if (!ip || !begins(ip, IPPROTO_UDP))
		return NF_ACCEPT;
	from = ip->ihl * 4;
	udp = bpf_dynptr_slice(&packet, from, &udp_copy, sizeof(udp_copy));
	if (!udp || udp->dest != bpf_htons(53))
		return NF_ACCEPT;
	scratch = get_scratch();
	if (!scratch)
		return NF_ACCEPT;
	/* Behind the headers of UDP and DNS. */
	len = copy_rest(ctx, &packet, from + 8 + 12, scratch->bytes, NAME);
	return is_listed(scratch, len) ? NF_DROP : NF_ACCEPT;
}
