// SPDX-License-Identifier: GPL-2.0-only
#include "bench.h"

SEC("netfilter")
int filter(struct bpf_nf_ctx *ctx)
{
	return NF_ACCEPT;
}
