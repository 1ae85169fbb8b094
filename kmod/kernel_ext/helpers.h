/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * C functions that the Rust half calls: wrappers of inline functions and macros, per-CPU variables,
 * tracepoints, and functions with names for drop monitors to show.
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

/* Release of the kernel that the kernel module was built for. */
extern const char nf_wasm_built_for[];

/*
 * Registers hotplug callbacks: @prepare is called for each CPU that is online, and before a CPU
 * comes online; @dead is called after a CPU has died. Both may sleep. Returns the argument of
 * nf_wasm_cpus_unwatch(), or a negative errno.
 */
int nf_wasm_cpus_watch(int (*prepare)(unsigned int cpu), int (*dead)(unsigned int cpu));
void nf_wasm_cpus_unwatch(int state);
/* In @dead or @prepare: whether the cause is a suspend or a resume. */
bool nf_wasm_cpus_suspend(void);

/* Returns 0, or -EINTR if the task is killed. */
int nf_wasm_mutex_lock_killable(struct mutex *mutex);

/* The namespace's slot for this kernel module's pointer. */
void **nf_wasm_net_slot(const struct net *net, unsigned int id);
/* The network namespace of @task, which is current; valid until the task switches namespaces. */
struct net *nf_wasm_task_net(const struct task_struct *task);
bool nf_wasm_net_is_initial(const struct net *net);
/* Whether the kernel's log shows lines of network namespaces other than the initial one. */
bool nf_wasm_log_all_namespaces(void);
bool nf_wasm_net_capable(const struct net *net, bool user_namespaces);
struct net *nf_wasm_dev_net(const struct net_device *dev);
bool nf_wasm_dev_registered(const struct net_device *dev);
void nf_wasm_dev_put(struct net_device *dev);
u32 nf_wasm_dev_ifindex(const struct net_device *dev);
/*
 * Copies IFNAMSIZ bytes, one of which is NUL. If the device is being renamed, the copy may have
 * parts of both names. netdev_copy_name(), which waits for the renaming, is not exported.
 */
void nf_wasm_dev_name(const struct net_device *dev, char *to);
struct net_device *nf_wasm_notifier_dev(void *info);
extern const unsigned long nf_wasm_netdev_unregister;
extern const unsigned long nf_wasm_netdev_changename;

void nf_wasm_init_completion(struct completion *done);
/* In C, because bindgen would use user space's HZ. */
void nf_wasm_ratelimit_init(struct ratelimit_state *limit, int seconds, int burst);
void nf_wasm_cond_resched(void);
void nf_wasm_warn_engine(void);

/* Fills the unused part of the current thread's stack with a pattern. */
void nf_wasm_stack_paint(void);
/* The most bytes of its stack that the current thread has used since nf_wasm_stack_paint(). */
u32 nf_wasm_stack_used(void);
extern const u32 nf_wasm_stack_size;

/* ---- owner.c: process context, except for nf_wasm_thread_data() ---- */

/* The task that something is built for: its credentials, and the memory cgroup to charge. */
struct nf_wasm_owner {
	const struct cred *cred;
	/* NULL if nothing is charged. */
	struct mem_cgroup *memcg;
};

/* Credentials and memory cgroup of current. Takes references. */
void nf_wasm_owner_get(struct nf_wasm_owner *owner);
void nf_wasm_owner_put(const struct nf_wasm_owner *owner);
/*
 * Makes this kernel thread act with @owner's credentials, and charge its memory cgroup. To undo
 * that, pass the return value to nf_wasm_owner_leave().
 */
const struct cred *nf_wasm_owner_assume(const struct nf_wasm_owner *owner);
void nf_wasm_owner_leave(const struct cred *before);
/*
 * Moves this kernel thread to all cgroups of @task, which must not end during the call. Locks CPU
 * hotplug and cgroups, and may wait for a grace period.
 */
int nf_wasm_join_cgroups(struct task_struct *task);
/*
 * The pointer that the current thread was created with, if it is a kernel thread that runs @main.
 * NULL otherwise, in an interrupt, and with bottom halves off. Any context.
 */
void *nf_wasm_thread_data(int (*main)(void *data));
/* Whether a fatal signal is pending for @task, which must not end during the call. */
bool nf_wasm_task_killed(struct task_struct *task);
/*
 * Makes the OOM killer prefer the calling process as its victim. Returns false if it already does;
 * if this returns true, the caller must call nf_wasm_oom_origin_clear() later.
 */
bool nf_wasm_oom_origin_set(void);
void nf_wasm_oom_origin_clear(void);

/* ---- memory.c ---- */

/* The alignment of a block's address and size. */
#define NF_WASM_BLOCK_ALIGN 64

/*
 * A block of memory on @node, or near it; NUMA_NO_NODE means any. If @charge, charged to the active
 * memory cgroup. Sleeps. Returns NULL instead of invoking the OOM killer.
 */
void *nf_wasm_block_alloc(size_t bytes, int node, bool charge);
/* The same on any node. Any context. */
void *nf_wasm_block_alloc_atomic(size_t bytes);
/* Frees a block of either function. */
void nf_wasm_block_free(const void *block);
/* The NUMA node with memory that is nearest to a CPU. */
int nf_wasm_cpu_node(unsigned int cpu);
/*
 * Zeroed memory for each possible CPU, on its NUMA node, at its __per_cpu_offset[] from the
 * returned address. Charged like blocks. NULL if there is no memory.
 */
void *nf_wasm_percpu_alloc(size_t size, size_t align);
void nf_wasm_percpu_free(void *all);

/* ---- hook.c ---- */

/*
 * Hook functions enter their CPU: bottom halves are off and, on PREEMPT_RT, the CPU's lock is held.
 * So they stay on the CPU, and own its packet path, which has no region at first.
 *
 * Sets the region that serves this task's allocations, or NULL. The task has entered the CPU.
 * Returns the previous region.
 */
void *nf_wasm_cpu_set_region(void *region);
/* The region of this CPU's packet path, or NULL if the caller is not on it. Any context. */
void *nf_wasm_packet_region(void);

/* The hook functions of attachments: for the IP families, and for netdev. */
unsigned int nf_wasm_hook(void *attachment, struct sk_buff *skb,
			  const struct nf_hook_state *state);
unsigned int nf_wasm_netdev_hook(void *attachment, struct sk_buff *skb,
				 const struct nf_hook_state *state);
/*
 * In decider.rs: decides a packet of @packet_len bytes. The CPU whose per-CPU data is at @offset was
 * entered. Lengths and offsets have the size of a register.
 */
unsigned int nf_wasm_attachment_decide(void *attachment, struct sk_buff *skb,
				       const struct nf_hook_state *state,
				       unsigned long packet_len, unsigned long offset);

/* ---- admission.c ---- */

/* All for process context. */

/* Writes 32 bytes to @digest. */
void nf_wasm_sha256(const void *data, size_t len, u8 *digest);
/*
 * Checks a detached PKCS#7 signature. Returns 0, -ENOKEY if the key is not trusted, -ENOPKG if the
 * kernel lacks the algorithm, -EKEYREJECTED if the signature does not match @data or its key was
 * revoked, -ENOMEM, or another errno if the signature is malformed.
 */
int nf_wasm_signature_verify(const void *data, size_t len, const void *signature,
			     size_t signature_len);
bool nf_wasm_signature_required(void);
/* Whether the list in allow_digests has this digest, of 32 bytes. */
bool nf_wasm_digest_listed(const u8 *digest);
/* Number of digests in allow_digests. */
u32 nf_wasm_digests(void);
/* Whether lockdown forbids unsigned code. If so, the kernel logs the attempt. */
bool nf_wasm_unsigned_locked_down(void);
/* Whether lockdown forbids parameters that only tests need. If so, the kernel logs the attempt. */
bool nf_wasm_parameters_locked_down(void);

/* ---- jit.c ---- */

/* Bytes of kernel memory of a program from nf_wasm_host_jit(). */
size_t nf_wasm_jit_bytes(const void *prog);

/* ---- audit.c ---- */

struct nf_wasm_audit {
	const char *op;
	const struct net *net;
	/* The filter's name, and its id or 0. */
	const char *filter;
	u32 id;
	/* The attachment's id; if it is 0, family, hook and priority are not logged. */
	u32 attachment;
	u32 family;
	u32 hook;
	s32 priority;
	/* NULL if the family is not netdev. */
	const char *device;
	/* SHA-256 of the Wasm module, or NULL. */
	const u8 *digest;
	/* Why the Wasm module was admitted, or NULL. */
	const char *origin;
	/* 0, or a negative errno. */
	int error;
	/* If set, this may sleep until the audit daemon has caught up. */
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

/* Writes all of @context. Sets version, size and window_len to 0: the engine fills them in. */
void nf_wasm_context_fill(struct nf_wasm_context *context, const struct sk_buff *skb,
			  const struct nf_hook_state *state);
/* The data of compiled code: see shared/src/machine.rs. */
struct nf_wasm_machine {
	s64 fuel;
	void *memory;
	size_t memory_bytes;
	u64 trap;
	void *host;
	const void *window;
	s64 minus_end;
	const struct nf_hook_state *state;
	u64 shown;
	u64 slots[];
};

/* The slot with the window's length. */
#define NF_WASM_LEN_SLOT 4

/* Context fields that code reads, in addition to those that are the same for all packets. */
#define NF_WASM_FIELDS_NONE 0
/* The packet's length, and the transport header's offset and protocol. */
#define NF_WASM_FIELDS_COMMON 1
#define NF_WASM_FIELDS_ALL 2

/*
 * Native code, called with a struct nf_wasm_machine. It ignores the second argument. The type must be identical to
 * bpf_func_t: with CONFIG_CFI the caller checks a hash of it.
 */
typedef unsigned int (*nf_wasm_run)(const void *machine, const struct bpf_insn *unused);

/* A filter's native code, with what it needs to decide packets. */
struct nf_wasm_call {
	nf_wasm_run run;
	struct nf_wasm_machine *machine;
	/* The context, and the window behind it. NULL if the code reads neither. */
	struct nf_wasm_context *context;
	/* The maximum length of the window, and the number of its bytes that the code may read. */
	u32 snaplen;
	u32 window;
	/* Decides packets in place. NULL if there is no such code. */
	nf_wasm_run run_in_place;
	/* Bytes of the packet that must be linear to run in place; at least an IPv4 header. */
	u32 least;
	/* One of the NF_WASM_FIELDS_*. */
	u32 fields;
};

/* The packet could not be read. */
#define NF_WASM_NO_PACKET 0x10e
/* Too few bytes of the packet are linear. */
#define NF_WASM_NOT_IN_PLACE 0x1ff
/* The code read past the linear bytes, or did something else that it cannot do in place. */
#define NF_WASM_BAILED_OUT 0x101

/*
 * Decides a packet of @packet_len bytes on a copy. Returns the code's return value, or
 * NF_WASM_NO_PACKET.
 */
u32 nf_wasm_run_on_copy(const struct nf_wasm_call *call, const struct sk_buff *skb,
			const struct nf_hook_state *state, u32 packet_len);
/* The same in place, with @run_in_place. May also return NF_WASM_NOT_IN_PLACE or _BAILED_OUT. */
u32 nf_wasm_run_in_place(const struct nf_wasm_call *call, const struct sk_buff *skb,
			 const struct nf_hook_state *state, u32 packet_len);
/*
 * Copies from @offset, which counts from the network header. Returns -EFAULT, or the number of
 * memory pieces that were visited beyond the first.
 */
int nf_wasm_skb_load(const struct sk_buff *skb, u32 offset, void *to, u32 len);
u32 nf_wasm_skb_mark(const struct sk_buff *skb);
void nf_wasm_skb_set_mark(struct sk_buff *skb, u32 mark);
/* A packet of the given bytes, which begin at the network header. NULL if memory ran out. */
struct sk_buff *nf_wasm_skb_new(const void *bytes, u32 len, u32 family, u32 mark);

void nf_wasm_skb_free(struct sk_buff *skb);

/* ---- drop.c: each frees the packet and returns the hook function's return value ---- */

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

/* Enabled while a tracer listens. */
DECLARE_TRACEPOINT(nf_wasm_verdict);
void nf_wasm_trace_verdict(const struct sk_buff *skb, const struct nf_wasm_trace *trace);
/* The build of an instance for @filter enters @stage, a number of nf_wasm_host_enter(). */
void nf_wasm_trace_build(const char *filter, u32 stage);

#endif
