// SPDX-License-Identifier: GPL-2.0-only
/*
 * One function for each cause of a drop, so that whatever shows where a packet was freed (dropwatch,
 * perf, pwru) tells the causes apart. The reason is SKB_DROP_REASON_NETFILTER_DROP for all: the
 * kernel's list of reasons has no room for modules.
 *
 * NF_DROP_REASON() is no tail call, since the verdict is computed after it: the return address that
 * the kfree_skb tracepoint records lies in these functions.
 */
#include <linux/errno.h>
#include <linux/netfilter.h>
#include <linux/skbuff.h>

#include "../kernel_ext/helpers.h"

/* The filter said DROP. */
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
