/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a packet begins in its sk_buff. */
#ifndef NF_WASM_SKB_H
#define NF_WASM_SKB_H

#include <linux/skbuff.h>

/*
 * Where the network header begins, from skb->data. Frames that a packet socket sends may come to
 * egress with a header that was never found; they begin where their data does.
 */
static __always_inline unsigned int nf_wasm_packet_start(const struct sk_buff *skb)
{
	int start = skb_network_offset(skb);

	if (likely(start == 0))
		return 0;
	return start > 0 && start <= skb->len ? start : 0;
}

#endif
