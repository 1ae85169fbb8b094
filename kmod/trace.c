// SPDX-License-Identifier: GPL-2.0-only
/* The tracepoint nf_wasm:verdict. */
#define CREATE_TRACE_POINTS
#include "trace.h"

bool nf_wasm_trace_enabled(void)
{
	return trace_verdict_enabled();
}

void nf_wasm_trace_verdict(const struct sk_buff *skb, const struct nf_wasm_trace *trace)
{
	trace_verdict(skb, trace);
}
