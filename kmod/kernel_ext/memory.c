// SPDX-License-Identifier: GPL-2.0-only
/* Large blocks, blocks near to a CPU, and per-CPU memory; charged to the active memory cgroup. */
#include <linux/cache.h>
#include <linux/gfp.h>
#include <linux/nodemask.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>

#include "helpers.h"

/*
 * Charged to the active memory cgroup. Fails instead of invoking the OOM killer of the cgroup or of
 * the machine: no process should die for a load.
 */
#define MAY_FAIL (GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_RETRY_MAYFAIL)

/*
 * Larger blocks come from vmalloc(), which rounds up to whole pages. kmalloc() would round up to a
 * power of two, and the block of a linear memory is slightly larger than one.
 */
#define LARGE (2 * PAGE_SIZE)

/* kmalloc() aligns to the largest power of two that divides the size. */
void *nf_wasm_block_alloc(size_t bytes, int node, bool charge)
{
	gfp_t flags = charge ? MAY_FAIL : MAY_FAIL & ~__GFP_ACCOUNT;

	if (node < 0 || node >= MAX_NUMNODES || !node_online(node))
		node = NUMA_NO_NODE;
	if (bytes > LARGE)
		return vrealloc_node_align(NULL, bytes, NF_WASM_BLOCK_ALIGN, flags, node);
	return kvmalloc_node(bytes, flags, node);
}

void *nf_wasm_block_alloc_atomic(size_t bytes)
{
	return kmalloc(bytes, GFP_ATOMIC | __GFP_NOWARN);
}

void nf_wasm_block_free(const void *block)
{
	kvfree(block);
}

int nf_wasm_cpu_node(unsigned int cpu)
{
	int node = cpu_to_mem(cpu);

	return node_online(node) ? node : NUMA_NO_NODE;
}

void *nf_wasm_percpu_alloc(size_t size, size_t align)
{
	/*
	 * Of the flags that limit the effort, the per-CPU allocator passes on only __GFP_NORETRY.
	 */
	return (void __force *)(uintptr_t)__alloc_percpu_gfp(size, align, MAY_FAIL | __GFP_NORETRY);
}

void nf_wasm_percpu_free(void *all)
{
	free_percpu((void __percpu __force *)(uintptr_t)all);
}
