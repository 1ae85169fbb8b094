// SPDX-License-Identifier: GPL-2.0-only
/* The kernel's own eBPF compiler, for instructions that the engine has made. */
#include <linux/cache.h>
#include <linux/filter.h>
#include <linux/math.h>

#include "../kernel_ext/helpers.h"

/*
 * Instructions of a program at most, where constants are to be blinded (net.core.bpf_jit_harden): for
 * each, the kernel moves the rest of the program and looks at all of it for jumps.
 */
#define MAX_BLINDED 8192
#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

/* What only the engine and its boundary call: boundary.rs says how. */
void *nf_wasm_host_jit(const void *insns, u32 len, const u32 *calls, u32 call_count,
		       const void *const *helpers, u32 stack, const void **run,
		       const char **reason);
void nf_wasm_host_jit_free(void *prog);

void *nf_wasm_host_jit(const void *insns, u32 len, const u32 *calls, u32 call_count,
		       const void *const *helpers, u32 stack, const void **run,
		       const char **reason)
{
	struct bpf_prog *prog;
	int err = 0;
	u32 i;

	if (IS_ENABLED(CONFIG_CPU_BIG_ENDIAN)) {
		*reason = "Wasm's memory is little-endian, and this machine is not";
		return NULL;
	}
	/*
	 * What current may do decides whether constants are blinded, and whether memory for code is
	 * limited: the load's thread acts with its caller's credentials. Without code the filter is
	 * interpreted: that is nothing to warn of, or to kill anybody for.
	 */
	prog = bpf_prog_alloc(bpf_prog_size(len), __GFP_NOWARN | __GFP_RETRY_MAYFAIL);
	if (!prog) {
		*reason = "memory ran out";
		return NULL;
	}
	if (!prog->jit_requested) {
		*reason = "the kernel's eBPF compiler is off (net.core.bpf_jit_enable is 0)";
		goto free;
	}
	if (prog->blinding_requested && len > MAX_BLINDED) {
		*reason = "it is over " TEXT(MAX_BLINDED)
			  " eBPF instructions, the most with net.core.bpf_jit_harden";
		goto free;
	}
	prog->len = len;
	/* Any but UNSPEC, which is classic BPF. */
	prog->type = BPF_PROG_TYPE_NETFILTER;
	prog->aux->stack_depth = stack;
	memcpy(prog->insnsi, insns, len * sizeof(struct bpf_insn));
	for (i = 0; i < call_count; i++) {
		struct bpf_insn *call = &prog->insnsi[calls[i]];

		call->imm = (u8 *)helpers[call->imm] - (u8 *)__bpf_call_base;
	}
	prog = bpf_prog_select_runtime(prog, &err);
	/* Without an error it may still have been left to the kernel's eBPF interpreter. */
	if (err || !prog->jited) {
		*reason = "the kernel's eBPF compiler could not compile it (no memory, or net.core.bpf_jit_limit)";
		goto free;
	}
	*run = prog->bpf_func;
	return prog;

free:
	bpf_prog_free(prog);
	return NULL;
}

void nf_wasm_host_jit_free(void *prog)
{
	bpf_prog_free(prog);
}

size_t nf_wasm_jit_bytes(const void *prog)
{
	const struct bpf_prog *of = prog;

	return of->pages * PAGE_SIZE + round_up(of->jited_len, SMP_CACHE_BYTES);
}
