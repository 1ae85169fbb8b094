// SPDX-License-Identifier: GPL-2.0-only
/* A netfilter hook that does nothing: what no filter can be cheaper than. */
#include <linux/module.h>
#include <linux/netfilter_ipv4.h>
#include <net/net_namespace.h>

static unsigned int empty_hook(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	return NF_ACCEPT;
}

static const struct nf_hook_ops ops = {
	.hook = empty_hook,
	.pf = NFPROTO_IPV4,
	.hooknum = NF_INET_LOCAL_OUT,
};

static int __init attach(void)
{
	return nf_register_net_hook(&init_net, &ops);
}

static void __exit detach(void)
{
	nf_unregister_net_hook(&init_net, &ops);
}

module_init(attach);
module_exit(detach);
MODULE_DESCRIPTION("A netfilter hook that does nothing");
MODULE_LICENSE("GPL");
