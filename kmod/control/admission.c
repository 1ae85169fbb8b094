// SPDX-License-Identifier: GPL-2.0-only
/*
 * Facts for admission, which decides before the engine parses a Wasm module: its digest, its
 * signature, the operator's list of digests, and lockdown.
 */
#include <crypto/sha2.h>
#include <linux/capability.h>
#include <linux/ctype.h>
#include <linux/hex.h>
#include <linux/module.h>
#include <linux/security.h>
#include <linux/verification.h>

#include "../kernel_ext/helpers.h"

static bool require_signature;
module_param(require_signature, bool_enable_only, 0644);
MODULE_PARM_DESC(require_signature,
		 "Admit only Wasm modules that are signed with a key that the kernel trusts, or listed in allow_digests; cannot be turned off again (bool)");

/* Digits of a digest, and one separator. */
#define LINE_LEN (2 * SHA256_DIGEST_SIZE + 1)
/* As many as fit in the parameter's file in sysfs, which is one page. */
#define MAX_DIGESTS ((PAGE_SIZE - 1) / LINE_LEN)

/*
 * Entries are only added, with the lock of the module parameters held. An entry is written before
 * the count includes it, so readers need no lock.
 */
static u8 digests[MAX_DIGESTS][SHA256_DIGEST_SIZE];
static unsigned int digest_count;

bool nf_wasm_digest_listed(const u8 *digest)
{
	unsigned int count = smp_load_acquire(&digest_count);
	unsigned int i;

	for (i = 0; i < count; i++)
		if (!memcmp(digests[i], digest, SHA256_DIGEST_SIZE))
			return true;
	return false;
}

static bool is_separator(char c)
{
	return c == ',' || isspace(c);
}

/* Reads the digest at *@at, and moves *@at past it. Returns 1, 0 at the end, or -EINVAL. */
static int next_digest(const char **at, u8 *digest)
{
	while (is_separator(**at))
		(*at)++;
	if (!**at)
		return 0;
	if (strnlen(*at, LINE_LEN) < LINE_LEN - 1 ||
	    hex2bin(digest, *at, SHA256_DIGEST_SIZE) ||
	    ((*at)[LINE_LEN - 1] && !is_separator((*at)[LINE_LEN - 1]))) {
		pr_err("nf_wasm: allow_digests: each SHA-256 digest needs %d hexadecimal digits; separate them by commas\n",
		       LINE_LEN - 1);
		return -EINVAL;
	}
	*at += LINE_LEN - 1;
	return 1;
}

/*
 * Adds digests to the list. This needs CAP_SYS_MODULE, because a task that has it could as well
 * load nf_wasm with another list, or without require_signature. CAP_NET_ADMIN, which suffices to
 * load filters, is not enough.
 */
static int allow_digests_set(const char *value, const struct kernel_param *param)
{
	unsigned int count = digest_count;
	u8 digest[SHA256_DIGEST_SIZE];
	const char *at = value;
	int found;

	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	while ((found = next_digest(&at, digest)) > 0)
		count += !nf_wasm_digest_listed(digest);
	if (found < 0)
		return found;
	if (count > MAX_DIGESTS) {
		pr_err("nf_wasm: allow_digests: at most %lu digests fit; sign Wasm modules instead\n",
		       MAX_DIGESTS);
		return -ENOSPC;
	}
	at = value;
	while (next_digest(&at, digest) > 0) {
		if (nf_wasm_digest_listed(digest))
			continue;
		memcpy(digests[digest_count], digest, SHA256_DIGEST_SIZE);
		smp_store_release(&digest_count, digest_count + 1);
	}
	return 0;
}

static int allow_digests_get(char *buffer, const struct kernel_param *param)
{
	unsigned int i;
	int len = 0;

	for (i = 0; i < digest_count; i++)
		len += scnprintf(buffer + len, PAGE_SIZE - len, "%*phN\n", SHA256_DIGEST_SIZE,
				 digests[i]);
	return len;
}

static const struct kernel_param_ops allow_digests_ops = {
	.set = allow_digests_set,
	.get = allow_digests_get,
};

module_param_cb(allow_digests, &allow_digests_ops, NULL, 0644);
MODULE_PARM_DESC(allow_digests,
		 "SHA-256 digests, in hexadecimal and separated by commas, of Wasm modules that need no signature; later writes add to the list (string)");

u32 nf_wasm_digests(void)
{
	return smp_load_acquire(&digest_count);
}

bool nf_wasm_signature_required(void)
{
	return READ_ONCE(require_signature);
}

void nf_wasm_sha256(const void *data, size_t len, u8 *digest)
{
	sha256(data, len, digest);
}

/*
 * Uses the keyrings that kernel modules are checked against, except for the platform keyring: that
 * one has keys of firmware vendors, which are meant for boot loaders.
 */
int nf_wasm_signature_verify(const void *data, size_t len, const void *signature,
			     size_t signature_len)
{
#ifdef CONFIG_SYSTEM_DATA_VERIFICATION
	return verify_pkcs7_signature(data, len, signature, signature_len,
				      VERIFY_USE_SECONDARY_KEYRING,
				      VERIFYING_UNSPECIFIED_SIGNATURE, NULL, NULL);
#else
	return -ENOPKG;
#endif
}

bool nf_wasm_unsigned_locked_down(void)
{
	return security_locked_down(LOCKDOWN_MODULE_SIGNATURE) != 0;
}

bool nf_wasm_parameters_locked_down(void)
{
	return security_locked_down(LOCKDOWN_MODULE_PARAMETERS) != 0;
}
