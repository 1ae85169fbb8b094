// SPDX-License-Identifier: GPL-2.0-only
/* The tracepoints nf_wasm:nf_wasm_verdict and nf_wasm:nf_wasm_build. */
#define CREATE_TRACE_POINTS
#include "trace.h"

void nf_wasm_trace_verdict(const struct sk_buff *skb, const struct nf_wasm_trace *trace)
{
	trace_nf_wasm_verdict(skb, trace);
}

void nf_wasm_trace_build(const char *filter, u32 stage)
{
	trace_nf_wasm_build(filter, stage);
}
