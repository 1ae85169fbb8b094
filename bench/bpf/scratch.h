/* SPDX-License-Identifier: GPL-2.0-only */
/* What is too large for the stack. */
#ifndef NF_WASM_BENCH_SCRATCH_H
#define NF_WASM_BENCH_SCRATCH_H

#include "bench.h"

/* Bytes of a packet that are looked at. */
#define SCRATCH_BYTES 1500

struct scratch {
	__u16 counts[256];
	__u8 bytes[SCRATCH_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct scratch *get_scratch(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&scratches, &key);
}

#endif
