// SPDX-License-Identifier: GPL-2.0-only
/*
 * Records in the kernel's audit log.
 *
 * Their type is AUDIT_KERNEL_OTHER, "for use by 3rd party modules". AUDIT_NETFILTER_CFG may seem to
 * fit better, but its readers expect a table and a number of entries.
 */
#include <linux/audit.h>
#include <linux/gfp.h>
#include <linux/string.h>
#include <net/net_namespace.h>

#include "helpers.h"

#ifdef CONFIG_AUDIT

/* Bytes of a SHA-256 digest. */
#define DIGEST_LEN 32

/*
 * Logs a string of untrusted origin, like audit_log_untrustedstring(), which is not exported: in
 * quotes, or in hexadecimal if it has a character that could fake another field.
 */
static void log_untrusted(struct audit_buffer *ab, const char *name, const char *string)
{
	size_t len = strlen(string);
	size_t i;

	for (i = 0; i < len; i++) {
		if (string[i] == '"' || string[i] < 0x21 || string[i] > 0x7e) {
			audit_log_format(ab, " %s=", name);
			for (i = 0; i < len; i++)
				audit_log_format(ab, "%02X", (u8)string[i]);
			return;
		}
	}
	audit_log_format(ab, " %s=\"%s\"", name, string);
}

void nf_wasm_audit(const struct nf_wasm_audit *entry)
{
	struct audit_buffer *ab;

	if (audit_enabled == AUDIT_OFF)
		return;
	ab = audit_log_start(audit_context(), entry->may_sleep ? GFP_KERNEL : GFP_ATOMIC,
			     AUDIT_KERNEL_OTHER);
	if (!ab)
		return;
	audit_log_format(ab, "module=nf_wasm op=%s", entry->op);
	log_untrusted(ab, "filter", entry->filter);
	if (entry->id)
		audit_log_format(ab, " id=%u", entry->id);
	if (entry->digest)
		audit_log_format(ab, " sha256=%*phN", DIGEST_LEN, entry->digest);
	if (entry->origin)
		audit_log_format(ab, " origin=%s", entry->origin);
	if (entry->attachment)
		audit_log_format(ab, " attachment=%u family=%u hook=%u priority=%d",
				 entry->attachment, entry->family, entry->hook, entry->priority);
	if (entry->device)
		log_untrusted(ab, "device", entry->device);
	audit_log_format(ab, " netns=%u", entry->net->ns.inum);
	audit_log_task_info(ab);
	audit_log_format(ab, " res=%d", !entry->error);
	audit_log_end(ab);
}

#else

void nf_wasm_audit(const struct nf_wasm_audit *entry)
{
}

#endif
