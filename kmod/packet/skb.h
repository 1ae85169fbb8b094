/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a packet's network header is in its sk_buff. */
#ifndef NF_WASM_SKB_H
#define NF_WASM_SKB_H

#include <linux/skbuff.h>

/*
 * Offset of the network header from skb->data. A frame that a packet socket sends may reach egress
 * with its network header unset; its packet then begins at skb->data.
 */
static __always_inline unsigned int nf_wasm_packet_start(const struct sk_buff *skb)
{
	int start = skb_network_offset(skb);

	if (likely(start == 0))
		return 0;
	return start > 0 && start <= skb->len ? start : 0;
}

#endif
