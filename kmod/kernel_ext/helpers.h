/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the Rust half calls in C: inline functions, per-CPU variables, tracepoints, and functions
 * whose names drop monitors are to show.
 */
#ifndef NF_WASM_HELPERS_H
#define NF_WASM_HELPERS_H

#include <linux/tracepoint-defs.h>
#include <linux/types.h>

struct bpf_insn;
struct completion;
struct cred;
struct mem_cgroup;
struct mutex;
struct net;
struct net_device;
struct nf_hook_state;
struct ratelimit_state;
struct sk_buff;
struct task_struct;

/* ---- kernel.c ---- */

/* Release of the kernel that the module was built for. */
extern const char nf_wasm_built_for[];

/*
 * Has @prepare called for each CPU before it comes online, and for each that is at once; and @dead
 * for each that is no longer. Both may sleep. Returns what nf_wasm_cpus_unwatch() takes, or a
 * negative errno.
 */
int nf_wasm_cpus_watch(int (*prepare)(unsigned int cpu), int (*dead)(unsigned int cpu));
void nf_wasm_cpus_unwatch(int state);
/* Whether the CPU that @dead or @prepare is called for goes or comes for a suspend. */
bool nf_wasm_cpus_suspend(void);

/* Returns 0, or -EINTR to a task that is killed. */
int nf_wasm_mutex_lock_killable(struct mutex *mutex);

/* Where the namespace keeps this module's pointer. */
void **nf_wasm_net_slot(const struct net *net, unsigned int id);
/* The network namespace of @task, which is the calling one; valid as long as it stays there. */
struct net *nf_wasm_task_net(const struct task_struct *task);
bool nf_wasm_net_is_initial(const struct net *net);
/* Whether the operator wants to hear namespaces other than the initial one in the log. */
bool nf_wasm_log_all_namespaces(void);
bool nf_wasm_net_capable(const struct net *net, bool user_namespaces);
struct net *nf_wasm_dev_net(const struct net_device *dev);
bool nf_wasm_dev_registered(const struct net_device *dev);
void nf_wasm_dev_put(struct net_device *dev);
u32 nf_wasm_dev_ifindex(const struct net_device *dev);
/*
 * Copies IFNAMSIZ bytes, with a NUL among them; of a device that is being renamed, perhaps some of
 * either name. netdev_copy_name(), which would wait, is not exported.
 */
void nf_wasm_dev_name(const struct net_device *dev, char *to);
struct net_device *nf_wasm_notifier_dev(void *info);
extern const unsigned long nf_wasm_netdev_unregister;
extern const unsigned long nf_wasm_netdev_changename;

void nf_wasm_init_completion(struct completion *done);
/* In C, because the HZ that bindgen finds is user space's. */
void nf_wasm_ratelimit_init(struct ratelimit_state *limit, int seconds, int burst);
void nf_wasm_cond_resched(void);
void nf_wasm_warn_engine(void);

/* Fills the unused part of the current thread's stack with a pattern. */
void nf_wasm_stack_paint(void);
/* The most bytes of its stack that the current thread has used since. */
u32 nf_wasm_stack_used(void);
extern const u32 nf_wasm_stack_size;

/* ---- owner.c: process context, but for nf_wasm_thread_data() ---- */

/* Whom something is built for: their credentials, and the memory cgroup that is charged. */
struct nf_wasm_owner {
	const struct cred *cred;
	/* NULL if nobody is charged. */
	struct mem_cgroup *memcg;
};

/* The calling task. Takes references. */
void nf_wasm_owner_get(struct nf_wasm_owner *owner);
void nf_wasm_owner_put(const struct nf_wasm_owner *owner);
/* The credentials of @owner, with nobody to charge. */
void nf_wasm_owner_copy_cred(const struct nf_wasm_owner *owner, struct nf_wasm_owner *to);
/*
 * This kernel thread acts with @owner's credentials, at its expense, until nf_wasm_owner_leave() is
 * given what this returns.
 */
const struct cred *nf_wasm_owner_assume(const struct nf_wasm_owner *owner);
void nf_wasm_owner_leave(const struct cred *before);
/*
 * Moves this kernel thread to all cgroups of @task, which does not end meanwhile. Locks CPU hotplug
 * and cgroups, and may wait for a grace period.
 */
int nf_wasm_join_cgroups(struct task_struct *task);
/*
 * What the current thread was created with, if it is a kernel thread that runs @main and this is not
 * called in an interrupt, nor with bottom halves off; otherwise NULL. Any context.
 */
void *nf_wasm_thread_data(int (*main)(void *data));
/* Whether @task, which is not to end meanwhile, is about to die of a signal. */
bool nf_wasm_task_killed(struct task_struct *task);
/*
 * Has the OOM killer, if it has to choose, choose the calling process. Returns whether that was to be
 * set: if so, nf_wasm_oom_origin_clear() undoes it.
 */
bool nf_wasm_oom_origin_set(void);
void nf_wasm_oom_origin_clear(void);

/* ---- memory.c ---- */

/* What the size of a block is a multiple of, and its address. */
#define NF_WASM_BLOCK_ALIGN 64

/*
 * A block of memory on @node, or near it; NUMA_NO_NODE is any. Charged to the active memory cgroup.
 * Sleeps. NULL if there is none to be had without an OOM killer's help.
 */
void *nf_wasm_block_alloc(size_t bytes, int node);
/* The same from anywhere, for any context. */
void *nf_wasm_block_alloc_atomic(size_t bytes);
/* Of either. */
void nf_wasm_block_free(const void *block);
/* The node of memory that is nearest to a CPU. */
int nf_wasm_cpu_node(unsigned int cpu);
/*
 * Zeroed memory for each possible CPU, on its node: that of a CPU is __per_cpu_offset[] of it behind what
 * this returns. Charged like blocks. NULL if there is none.
 */
void *nf_wasm_percpu_alloc(size_t size, size_t align);
void nf_wasm_percpu_free(void *all);

/* ---- hook.c ---- */

/*
 * Hooks enter their CPU: bottom halves are off and, on PREEMPT_RT, the CPU's lock is held, so that they
 * stay there, alone with its packet path, which has no region then.
 *
 * Says where allocations of this task, which has entered the CPU, are served from, or NULL. Returns
 * what was said before.
 */
void *nf_wasm_cpu_set_region(void *region);
/* This CPU's path's region, or NULL where the caller is not on a packet's path. Any context. */
void *nf_wasm_packet_region(void);

/* What an attachment registers with netfilter: of IPv4 and IPv6, and of netdev. */
unsigned int nf_wasm_hook(void *attachment, struct sk_buff *skb,
			  const struct nf_hook_state *state);
unsigned int nf_wasm_netdev_hook(void *attachment, struct sk_buff *skb,
				 const struct nf_hook_state *state);
/* In decider.rs: decides a packet of @packet_len bytes on the @cpu that was entered. */
unsigned int nf_wasm_attachment_decide(void *attachment, struct sk_buff *skb,
				       const struct nf_hook_state *state, u32 packet_len,
				       unsigned long cpu);

/* ---- admission.c ---- */

/* Process context, all of them. */

/* Writes 32 bytes to @digest. */
void nf_wasm_sha256(const void *data, size_t len, u8 *digest);
/*
 * Checks a detached PKCS#7 signature. Returns 0, or -ENOKEY if the key is not trusted here, -ENOPKG
 * if the kernel lacks the algorithm, -EKEYREJECTED if the signature is not one of @data or its key
 * was revoked, -ENOMEM, or something else if it makes no sense.
 */
int nf_wasm_signature_verify(const void *data, size_t len, const void *signature,
			     size_t signature_len);
bool nf_wasm_signature_required(void);
/* Whether a digest, of 32 bytes, is on the operator's list. */
bool nf_wasm_digest_listed(const u8 *digest);
/* How many are. */
u32 nf_wasm_digests(void);
/* Whether lockdown forbids code that is not signed. If so, the kernel logs that it was tried. */
bool nf_wasm_unsigned_locked_down(void);
/* Whether lockdown forbids parameters that only tests need. If so, the kernel logs it. */
bool nf_wasm_parameters_locked_down(void);

/* ---- jit.c ---- */

/* Bytes of kernel memory that a program made by nf_wasm_host_jit() takes. */
size_t nf_wasm_jit_bytes(const void *prog);

/* ---- audit.c ---- */

struct nf_wasm_audit {
	const char *op;
	const struct net *net;
	/* The filter's name, and its id or 0. */
	const char *filter;
	u32 id;
	/* Of the attachment, or 0, and then neither it nor the rest is logged. */
	u32 attachment;
	u32 family;
	u32 hook;
	s32 priority;
	/* NULL if there is none. */
	const char *device;
	/* SHA-256 of the Wasm module, or NULL. */
	const u8 *digest;
	/* Why the module was taken, or NULL. */
	const char *origin;
	/* 0, or a negative errno. */
	int error;
	/* Whether the caller may wait until the audit daemon has caught up. */
	bool may_sleep;
};

/* Process context. */
void nf_wasm_audit(const struct nf_wasm_audit *entry);

/* ---- context.c ---- */

/* VERSION of shared/src/abi/guest.rs. */
#define NF_WASM_GUEST_VERSION 1

/* struct Context of shared/src/abi/guest.rs. */
struct nf_wasm_context {
	u32 version;
	u32 size;
	u32 hook;
	u32 family;
	u32 packet_len;
	u32 window_len;
	u32 transport_offset;
	u32 transport_protocol;
	u32 in_ifindex;
	u32 out_ifindex;
	u32 mark;
	u32 conntrack_state;
};

/* Writes all of @context. The engine fills in version, size and window_len, which are 0 here. */
void nf_wasm_context_fill(struct nf_wasm_context *context, const struct sk_buff *skb,
			  const struct nf_hook_state *state);
/* What compiled code runs on: see shared/src/machine.rs. */
struct nf_wasm_machine {
	s64 fuel;
	void *memory;
	size_t memory_bytes;
	void *globals;
	u64 trap;
	void *owner;
	const void *window;
	s64 minus_end;
	const struct nf_hook_state *state;
	u64 shown;
	u64 slots[];
};

/* The one that has the window's length. */
#define NF_WASM_LEN_SLOT 4

/* What code looks at of the context, besides what is the same for all packets. */
#define NF_WASM_FIELDS_NONE 0
/* The packet's length, and where its transport header is. */
#define NF_WASM_FIELDS_COMMON 1
#define NF_WASM_FIELDS_ALL 2

/*
 * Code of the kernel's eBPF compiler, called with a struct nf_wasm_machine and NULL. It has to be a
 * bpf_func_t to the letter: with CONFIG_CFI the caller checks a hash of the type.
 */
typedef unsigned int (*nf_wasm_run)(const void *machine, const struct bpf_insn *unused);

/* How a filter's code decides packets. */
struct nf_wasm_call {
	nf_wasm_run run;
	struct nf_wasm_machine *machine;
	/* For each packet. */
	s64 fuel;
	/* Where it is shown them: the context, and the window behind it. NULL if it looks at neither. */
	struct nf_wasm_context *context;
	/* Bytes of the window at most, and those that the code may look at. */
	u32 snaplen;
	u32 window;
	/* For packets that it can look at where they are, if there is such code. */
	nf_wasm_run run_in_place;
	/* Bytes of the window that have to be there in one piece; enough for an IPv4 header. */
	u32 least;
	/* One of the NF_WASM_FIELDS_*. */
	u32 fields;
};

/* The packet could not be read. */
#define NF_WASM_NO_PACKET 0x10e
/* The packet is not there in one piece. */
#define NF_WASM_NOT_IN_PLACE 0x1ff
/* The code looked for more of it than there is, or for something else. */
#define NF_WASM_BAILED_OUT 0x101

/*
 * Has code decide a packet of @packet_len bytes. Returns what the code returned, or NF_WASM_NO_PACKET.
 */
u32 nf_wasm_run_on_copy(const struct nf_wasm_call *call, const struct sk_buff *skb,
			const struct nf_hook_state *state, u32 packet_len);
/* The same where the packet is, by @run_in_place, or NF_WASM_NOT_IN_PLACE or _BAILED_OUT. */
u32 nf_wasm_run_in_place(const struct nf_wasm_call *call, const struct sk_buff *skb,
			 const struct nf_hook_state *state, u32 packet_len);
/*
 * Copies from @offset after the network header. Returns -EFAULT, or how many pieces of memory,
 * beyond the first, were looked at.
 */
int nf_wasm_skb_load(const struct sk_buff *skb, u32 offset, void *to, u32 len);
u32 nf_wasm_skb_mark(const struct sk_buff *skb);
void nf_wasm_skb_set_mark(struct sk_buff *skb, u32 mark);
/* A packet of the given bytes, its network header at the first. NULL if memory ran out. */
struct sk_buff *nf_wasm_skb_new(const void *bytes, u32 len, u32 family, u32 mark);

void nf_wasm_skb_free(struct sk_buff *skb);

/* ---- drop.c: each frees the packet and returns what a hook returns ---- */

unsigned int nf_wasm_drop_verdict(struct sk_buff *skb);
unsigned int nf_wasm_drop_trap(struct sk_buff *skb);
unsigned int nf_wasm_drop_fuel(struct sk_buff *skb);
unsigned int nf_wasm_drop_quarantine(struct sk_buff *skb);

/* ---- trace.c ---- */

struct nf_wasm_trace {
	u32 filter;
	u32 attachment;
	u32 hook;
	u32 family;
	u32 packet_len;
	u32 verdict;
	u32 trap;
	u64 fuel;
};

/* Whether somebody wants verdicts traced. */
DECLARE_TRACEPOINT(nf_wasm_verdict);
void nf_wasm_trace_verdict(const struct sk_buff *skb, const struct nf_wasm_trace *trace);
/* An instance for the filter with this name comes to a stage, as nf_wasm_host_enter() has them. */
void nf_wasm_trace_build(const char *filter, u32 stage);

#endif
