// SPDX-License-Identifier: GPL-2.0-only
/*
 * One function for each cause of a drop, so that tools that show the address where a packet was
 * freed (dropwatch, perf, pwru) tell the causes apart. The drop reason is always
 * SKB_DROP_REASON_NETFILTER_DROP, because this module cannot add reasons to the kernel's list.
 *
 * NF_DROP_REASON() is inlined, and its call that frees the packet is not a tail call, because the
 * hook's return value is computed after it. So the return
 * address that the kfree_skb tracepoint records is in these functions.
 */
#include <linux/errno.h>
#include <linux/netfilter.h>
#include <linux/skbuff.h>

#include "../kernel_ext/helpers.h"

/* The filter's verdict is DROP. */
noinline unsigned int nf_wasm_drop_verdict(struct sk_buff *skb)
{
	return NF_DROP_REASON(skb, SKB_DROP_REASON_NETFILTER_DROP, EPERM);
}

/* The filter trapped, and its trap policy is to drop. */
noinline unsigned int nf_wasm_drop_trap(struct sk_buff *skb)
{
	return NF_DROP_REASON(skb, SKB_DROP_REASON_NETFILTER_DROP, EPERM);
}

/* The filter ran out of fuel, and its trap policy is to drop. */
noinline unsigned int nf_wasm_drop_fuel(struct sk_buff *skb)
{
	return NF_DROP_REASON(skb, SKB_DROP_REASON_NETFILTER_DROP, EPERM);
}

/* The filter is quarantined, and its trap policy is to drop. */
noinline unsigned int nf_wasm_drop_quarantine(struct sk_buff *skb)
{
	return NF_DROP_REASON(skb, SKB_DROP_REASON_NETFILTER_DROP, EPERM);
}
