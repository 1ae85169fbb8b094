/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM nf_wasm

#if !defined(NF_WASM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define NF_WASM_TRACE_H

#include <linux/skbuff.h>
#include <linux/tracepoint.h>

#include "../kernel_ext/helpers.h"

/* A packet was decided. @trap is 0xffffffff if the filter did not trap. */
TRACE_EVENT(nf_wasm_verdict,
	TP_PROTO(const struct sk_buff *skb, const struct nf_wasm_trace *trace),
	TP_ARGS(skb, trace),
	TP_STRUCT__entry(
		__field(const void *, skbaddr)
		__field(u32, filter)
		__field(u32, attachment)
		__field(u32, hook)
		__field(u32, family)
		__field(u32, packet_len)
		__field(u32, verdict)
		__field(u32, trap)
		__field(u64, fuel)
	),
	TP_fast_assign(
		__entry->skbaddr = skb;
		__entry->filter = trace->filter;
		__entry->attachment = trace->attachment;
		__entry->hook = trace->hook;
		__entry->family = trace->family;
		__entry->packet_len = trace->packet_len;
		__entry->verdict = trace->verdict;
		__entry->trap = trace->trap;
		__entry->fuel = trace->fuel;
	),
	TP_printk("skbaddr=%p filter=%u attachment=%u family=%u hook=%u len=%u verdict=%s trap=%d fuel=%llu",
		  __entry->skbaddr, __entry->filter, __entry->attachment, __entry->family,
		  __entry->hook, __entry->packet_len, __entry->verdict ? "accept" : "drop",
		  (int)__entry->trap, __entry->fuel)
);

/* The build of a program, or the copy of an interpreted instance, enters a stage. */
TRACE_EVENT(nf_wasm_build,
	TP_PROTO(const char *filter, u32 stage),
	TP_ARGS(filter, stage),
	TP_STRUCT__entry(
		__string(filter, filter)
		__field(u32, stage)
	),
	TP_fast_assign(
		__assign_str(filter);
		__entry->stage = stage;
	),
	TP_printk("filter=%s stage=%s", __get_str(filter),
		  __print_symbolic(__entry->stage, { 0, "check" }, { 1, "translate" },
				   { 2, "instantiate" }, { 3, "copy" }, { 4, "ready" }, { 5, "compile" }))
);

#endif

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
