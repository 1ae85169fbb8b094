// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drops each TLS ClientHello whose extension server_name has a name of the map. Sees only a
 * ClientHello that is whole in one segment.
 */
#include "names.h"

/* Bytes that are looked at; a power of two. */
#define HELLO 1024
#define EXTENSIONS 32
/* Bytes of a name. */
#define NAME 256

static __always_inline __u8 u8_at(const struct scratch *scratch, __u32 at)
{
	return scratch->bytes[at & (HELLO - 1)];
}

static __always_inline __u16 u16_at(const struct scratch *scratch, __u32 at)
{
	return u8_at(scratch, at) << 8 | u8_at(scratch, at + 1);
}

static __always_inline bool is_listed(const struct scratch *scratch, __u32 len)
{
	__u64 hash = NO_BYTES;
	__u32 at, name = 0, end = 0;
	int i;

	/* Headers of record and message, version, random number. */
	if (len < 5 + 4 + 2 + 32 || u8_at(scratch, 0) != 22 || u8_at(scratch, 5) != 1)
		return false;
	at = 5 + 4 + 2 + 32;
	at += 1 + u8_at(scratch, at);
	at += 2 + u16_at(scratch, at);
	at += 1 + u8_at(scratch, at);
	at += 2;
	for (i = 0; i < EXTENSIONS; i++) {
		if (at + 9 > len)
			return false;
		if (!u16_at(scratch, at)) {
			name = at + 9;
			end = name + u16_at(scratch, at + 7);
			break;
		}
		at += 4 + u16_at(scratch, at + 2);
	}
	if (!name || end > len)
		return false;
	for (i = 1; i <= NAME; i++) {
		__u32 byte = end - i;

		if (byte < name)
			break;
		hash = push(hash, u8_at(scratch, byte));
	}
	return bpf_map_lookup_elem(&entries, &hash);
}

SEC("netfilter")
int filter(struct bpf_nf_ctx *ctx)
{
	struct bpf_dynptr packet;
	struct scratch *scratch;
	const struct iphdr *ip;
	const struct tcphdr *tcp;
	struct iphdr ip_copy;
	struct tcphdr tcp_copy;
	__u32 from, len;

	ip = open_packet(ctx, &packet, &ip_copy);
	if (!ip || !begins(ip, IPPROTO_TCP))
		return NF_ACCEPT;
	from = ip->ihl * 4;
	tcp = bpf_dynptr_slice(&packet, from, &tcp_copy, sizeof(tcp_copy));
	if (!tcp || tcp->dest != bpf_htons(443))
		return NF_ACCEPT;
	scratch = get_scratch();
	if (!scratch)
		return NF_ACCEPT;
	len = copy_rest(ctx, &packet, from + tcp->doff * 4, scratch->bytes, HELLO);
	return is_listed(scratch, len) ? NF_DROP : NF_ACCEPT;
}
