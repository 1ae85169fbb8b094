/* SPDX-License-Identifier: GPL-2.0-only */
/* A list of names, by the hash (FNV-1a) of their bytes from the last to the first. */
#ifndef NF_WASM_BENCH_NAMES_H
#define NF_WASM_BENCH_NAMES_H

#include "scratch.h"

#define NO_BYTES 0xcbf29ce484222325ULL

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1000);
	__type(key, __u64);
	__type(value, __u8);
} entries SEC(".maps");

static __always_inline __u64 push(__u64 hash, __u8 byte)
{
	if (byte >= 'A' && byte <= 'Z')
		byte |= 0x20;
	return (hash ^ byte) * 0x100000001b3ULL;
}

#endif
