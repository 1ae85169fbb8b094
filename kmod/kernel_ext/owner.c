// SPDX-License-Identifier: GPL-2.0-only
/* Owners of builds, and the kernel threads that act for them. */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/kthread.h>
#include <linux/memcontrol.h>
#include <linux/oom.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "helpers.h"

void nf_wasm_owner_get(struct nf_wasm_owner *owner)
{
	owner->cred = get_current_cred();
	owner->memcg = get_mem_cgroup_from_mm(current->mm);
}

void nf_wasm_owner_put(const struct nf_wasm_owner *owner)
{
	mem_cgroup_put(owner->memcg);
	put_cred(owner->cred);
}

const struct cred *nf_wasm_owner_assume(const struct nf_wasm_owner *owner)
{
	set_active_memcg(owner->memcg);
	return override_creds(owner->cred);
}

void nf_wasm_owner_leave(const struct cred *before)
{
	revert_creds(before);
	set_active_memcg(NULL);
}

int nf_wasm_join_cgroups(struct task_struct *task)
{
#ifdef CONFIG_CGROUPS
	bool same;

	/* Do not move if not needed: it waits for a grace period with cgroup_mutex held. */
	rcu_read_lock();
	same = task_css_set(task) == task_css_set(current);
	rcu_read_unlock();
	if (!same)
		return cgroup_attach_task_all(task, current);
#endif
	return 0;
}

/*
 * A softirq that interrupts such a thread runs with bottom halves off, and so does a packet path of
 * the thread itself: neither is the thread's job.
 */
void *nf_wasm_thread_data(int (*main)(void *data))
{
	if (irq_count() || kthread_func(current) != (void *)main)
		return NULL;
	return kthread_data(current);
}

bool nf_wasm_task_killed(struct task_struct *task)
{
	return fatal_signal_pending(task);
}

/* Another thread of the process, or swapoff, may have set the flag, and clears it later. */
bool nf_wasm_oom_origin_set(void)
{
	if (oom_task_origin(current))
		return false;
	set_current_oom_origin();
	return true;
}

void nf_wasm_oom_origin_clear(void)
{
	clear_current_oom_origin();
}
