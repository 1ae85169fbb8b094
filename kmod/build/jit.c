// SPDX-License-Identifier: GPL-2.0-only
/* Runs the kernel's eBPF compiler on compiled code. */
#include <linux/cache.h>
#include <linux/filter.h>
#include <linux/math.h>

#include "../kernel_ext/helpers.h"

/*
 * The maximum number of eBPF instructions if constants are blinded (net.core.bpf_jit_harden). For
 * each instruction that it blinds, the kernel moves the rest of the eBPF program and scans all of
 * the program for jumps.
 */
#define MAX_BLINDED 8192
#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

/* Declared here, because only the engine calls them; boundary.rs documents them. */
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
	 * Whether constants are blinded, and whether memory for code is limited, depends on the
	 * capabilities of current: the build thread has its owner's credentials. If this fails, the
	 * filter is interpreted, so neither warn nor invoke the OOM killer.
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
			  " eBPF instructions, the maximum with net.core.bpf_jit_harden";
		goto free;
	}
	prog->len = len;
	/* Any type but UNSPEC, which is classic BPF. */
	prog->type = BPF_PROG_TYPE_NETFILTER;
	prog->aux->stack_depth = stack;
	memcpy(prog->insnsi, insns, len * sizeof(struct bpf_insn));
	for (i = 0; i < call_count; i++) {
		struct bpf_insn *call = &prog->insnsi[calls[i]];

		call->imm = (u8 *)helpers[call->imm] - (u8 *)__bpf_call_base;
	}
	prog = bpf_prog_select_runtime(prog, &err);
	/*
	 * Even without an error, the program may have been left to the kernel's eBPF interpreter.
	 */
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
	const struct bpf_prog *bpf = prog;

	return bpf->pages * PAGE_SIZE + round_up(bpf->jited_len, SMP_CACHE_BYTES);
}
