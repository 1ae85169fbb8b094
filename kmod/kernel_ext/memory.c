// SPDX-License-Identifier: GPL-2.0-only
/* Memory that is large, near to a CPU, or each CPU's own; charged to whoever is active. */
#include <linux/cache.h>
#include <linux/gfp.h>
#include <linux/nodemask.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>

#include "helpers.h"

/*
 * Charged to the active memory cgroup. Fails before an OOM killer is asked for help, the cgroup's or
 * the machine's: a load is not worth a process.
 */
#define MAY_FAIL (GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_RETRY_MAYFAIL)

/*
 * Blocks over this come from vmalloc(), which rounds up to the next page. kmalloc() would, for
 * these, round up to the next power of two, and a linear memory is just over one.
 */
#define LARGE (2 * PAGE_SIZE)

/* kmalloc() aligns to the largest power of two that the size is a multiple of. */
void *nf_wasm_block_alloc(size_t bytes, int node)
{
	if (bytes > LARGE)
		return vrealloc_node_align(NULL, bytes, NF_WASM_BLOCK_ALIGN, MAY_FAIL, node);
	return kvmalloc_node(bytes, MAY_FAIL, node);
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
	/* Of the flags that say how hard to try, this allocator passes on only __GFP_NORETRY. */
	return (void __force *)(uintptr_t)__alloc_percpu_gfp(size, align, MAY_FAIL | __GFP_NORETRY);
}

void nf_wasm_percpu_free(void *all)
{
	free_percpu((void __percpu __force *)(uintptr_t)all);
}
