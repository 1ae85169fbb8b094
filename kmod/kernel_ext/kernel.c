// SPDX-License-Identifier: GPL-2.0-only
/* Inline functions and per-CPU variables for the kernel half's Rust code. */
#include <generated/utsrelease.h>
#include <linux/capability.h>
#include <linux/completion.h>
#include <linux/cpuhotplug.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <net/net_namespace.h>
#include <net/netfilter/nf_log.h>
#include <net/netns/generic.h>

#include "helpers.h"

const char nf_wasm_built_for[] = UTS_RELEASE;
const u32 nf_wasm_stack_size = THREAD_SIZE;

int nf_wasm_cpus_watch(int (*prepare)(unsigned int cpu), int (*dead)(unsigned int cpu))
{
	return cpuhp_setup_state(CPUHP_BP_PREPARE_DYN, "net/nf_wasm:prepare", prepare, dead);
}

void nf_wasm_cpus_unwatch(int state)
{
	cpuhp_remove_state_nocalls(state);
}

bool nf_wasm_cpus_suspend(void)
{
	return cpuhp_tasks_frozen;
}

int nf_wasm_mutex_lock_killable(struct mutex *mutex)
{
	return mutex_lock_killable(mutex);
}

void **nf_wasm_net_slot(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
}

struct net *nf_wasm_task_net(const struct task_struct *task)
{
	return task->nsproxy ? task->nsproxy->net_ns : NULL;
}

bool nf_wasm_net_is_initial(const struct net *net)
{
	return net_eq(net, &init_net);
}

bool nf_wasm_log_all_namespaces(void)
{
	return READ_ONCE(sysctl_nf_log_all_netns);
}

bool nf_wasm_net_capable(const struct net *net, bool user_namespaces)
{
	if (user_namespaces)
		return ns_capable(net->user_ns, CAP_NET_ADMIN);
	return capable(CAP_NET_ADMIN);
}

struct net *nf_wasm_dev_net(const struct net_device *dev)
{
	return dev_net(dev);
}

bool nf_wasm_dev_registered(const struct net_device *dev)
{
	return READ_ONCE(dev->reg_state) == NETREG_REGISTERED;
}

void nf_wasm_dev_put(struct net_device *dev)
{
	dev_put(dev);
}

u32 nf_wasm_dev_ifindex(const struct net_device *dev)
{
	return READ_ONCE(dev->ifindex);
}

void nf_wasm_dev_name(const struct net_device *dev, char *to)
{
	data_race(memcpy(to, dev->name, IFNAMSIZ));
	to[IFNAMSIZ - 1] = '\0';
}

const unsigned long nf_wasm_netdev_unregister = NETDEV_UNREGISTER;
const unsigned long nf_wasm_netdev_changename = NETDEV_CHANGENAME;

struct net_device *nf_wasm_notifier_dev(void *info)
{
	return netdev_notifier_info_to_dev(info);
}

void nf_wasm_init_completion(struct completion *done)
{
	init_completion(done);
}

void nf_wasm_ratelimit_init(struct ratelimit_state *limit, int seconds, int burst)
{
	ratelimit_state_init(limit, seconds * HZ, burst);
}

void nf_wasm_cond_resched(void)
{
	cond_resched();
}

void nf_wasm_warn_engine(void)
{
	WARN_ONCE(1, "nf_wasm: the engine panicked; this is a bug of nf_wasm\n");
}

#define NF_WASM_PAINT 0x6e665f7761736d21UL

/* Bytes below the current stack pointer that are not painted, for this function's own frame. */
#define NF_WASM_PAINT_GAP 256

noinline __no_sanitize_address void nf_wasm_stack_paint(void)
{
	unsigned long *word = end_of_stack(current) + 1;
	unsigned long *end = (unsigned long *)(current_stack_pointer - NF_WASM_PAINT_GAP);

	while (word < end)
		WRITE_ONCE(*word++, NF_WASM_PAINT);
}

noinline __no_sanitize_address u32 nf_wasm_stack_used(void)
{
	unsigned long *word = end_of_stack(current) + 1;
	unsigned long top = (unsigned long)task_stack_page(current) + THREAD_SIZE;

	while ((unsigned long)word < top && READ_ONCE_NOCHECK(*word) == NF_WASM_PAINT)
		word++;
	return top - (unsigned long)word;
}
