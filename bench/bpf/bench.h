/* SPDX-License-Identifier: GPL-2.0-only */
/* What the benchmarks' eBPF programs of type BPF_PROG_TYPE_NETFILTER share. */
#ifndef NF_WASM_BENCH_H
#define NF_WASM_BENCH_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef NULL
#define NULL ((void *)0)
#endif

#define NF_DROP 0
#define NF_ACCEPT 1

struct sk_buff {
	unsigned int len;
} __attribute__((preserve_access_index));

struct bpf_nf_ctx {
	const struct nf_hook_state *state;
	struct sk_buff *skb;
} __attribute__((preserve_access_index));

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u32 offset, void *buffer,
			      __u32 buffer__szk) __ksym;

/* Makes @packet stand for the packet, from its IP header on, and returns that or NULL. */
static __always_inline const struct iphdr *open_packet(struct bpf_nf_ctx *ctx,
						       struct bpf_dynptr *packet,
						       struct iphdr *copy)
{
	if (bpf_dynptr_from_skb((struct __sk_buff *)ctx->skb, 0, packet))
		return NULL;
	return bpf_dynptr_slice(packet, 0, copy, sizeof(*copy));
}

/* Whether what follows the header is of this protocol, and not the middle of it. */
static __always_inline bool begins(const struct iphdr *ip, __u8 protocol)
{
	return ip->protocol == protocol && !(ip->frag_off & bpf_htons(0x1fff));
}

/* Copies what the packet has from @from on, up to @most bytes, which is constant. */
static __always_inline __u32 copy_rest(struct bpf_nf_ctx *ctx, struct bpf_dynptr *packet,
				       __u32 from, void *to, __u32 most)
{
	__u32 len = ctx->skb->len;

	if (len <= from)
		return 0;
	len -= from;
	if (len > most)
		len = most;
	return bpf_dynptr_read(to, len, packet, from, 0) ? 0 : len;
}

char license_text[] SEC("license") = "GPL";

#endif
