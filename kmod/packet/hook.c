// SPDX-License-Identifier: GPL-2.0-only
/* The functions that netfilter calls. They enter the CPU's packet path, call the Rust code, and
 * leave the packet path. */
#include <linux/bottom_half.h>
#include <linux/local_lock.h>
#include <linux/netfilter.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/skbuff.h>

#include "../kernel_ext/helpers.h"
#include "skb.h"

/*
 * @owner distinguishes the packet path from the code that it interrupted and, on PREEMPT_RT, from
 * threads that run on the CPU while the packet path is preempted.
 */
struct nf_wasm_path {
	/* The task that is on the packet path and has set a region, or NULL. */
	const void *owner;
	/* The region that serves this task's allocations, or NULL. */
	void *region;
};

/* A CPU's packet path. */
struct nf_wasm_cpu {
	local_lock_t lock;
	struct nf_wasm_path path;
};

/* CACHE_LINE in cpu.rs, to which per-CPU types are aligned. */
static_assert(SMP_CACHE_BYTES <= 64);

static DEFINE_PER_CPU(struct nf_wasm_cpu, nf_wasm_cpu) = {
	.lock = INIT_LOCAL_LOCK(lock),
};

static __always_inline unsigned long enter(void)
{
	local_bh_disable();
	local_lock_nested_bh(&nf_wasm_cpu.lock);
	return my_cpu_offset;
}

/* Runs pending softirqs; returns @verdict. */
static noinline unsigned int run_pending(unsigned int verdict)
{
	local_bh_disable();
	local_bh_enable();
	preempt_enable();
	return verdict;
}

/*
 * local_bh_enable(), with the case that no softirq is pending inline. If an interrupt raises a
 * softirq after the check, the softirq runs at the end of the interrupt, because bottom halves are
 * on by then.
 */
static __always_inline unsigned int leave(unsigned int verdict)
{
	local_unlock_nested_bh(&nf_wasm_cpu.lock);
	if (IS_ENABLED(CONFIG_PREEMPT_RT) || IS_ENABLED(CONFIG_TRACE_IRQFLAGS) ||
	    IS_ENABLED(CONFIG_DEBUG_PREEMPT)) {
		local_bh_enable();
		return verdict;
	}
	barrier();
	/* Keep preemption off for the check of this CPU's pending softirqs. */
	preempt_count_sub(SOFTIRQ_DISABLE_OFFSET - PREEMPT_DISABLE_OFFSET);
	if (unlikely(local_softirq_pending()))
		return run_pending(verdict);
	preempt_enable();
	return verdict;
}

void *nf_wasm_cpu_set_region(void *region)
{
	struct nf_wasm_path *path = this_cpu_ptr(&nf_wasm_cpu.path);
	void *before = path->region;

	path->region = region;
	path->owner = region ? current : NULL;
	return before;
}

/*
 * Preemption between the two reads is harmless: only this task, on its packet path, can have set
 * @owner to itself, and it cannot leave the packet path while it runs this.
 */
void *nf_wasm_packet_region(void)
{
	if (this_cpu_read(nf_wasm_cpu.path.owner) != current)
		return NULL;
	return this_cpu_read(nf_wasm_cpu.path.region);
}

static __always_inline unsigned int decide(void *attachment, struct sk_buff *skb,
					   const struct nf_hook_state *state, unsigned int start)
{
	unsigned long offset = enter();

	return leave(nf_wasm_attachment_decide(attachment, skb, state, skb->len - start, offset));
}

unsigned int nf_wasm_hook(void *attachment, struct sk_buff *skb, const struct nf_hook_state *state)
{
	/* The IP families' hooks are called with skb->data at the network header. */
	return decide(attachment, skb, state, 0);
}

unsigned int nf_wasm_netdev_hook(void *attachment, struct sk_buff *skb,
				 const struct nf_hook_state *state)
{
	return decide(attachment, skb, state, nf_wasm_packet_start(skb));
}
