// SPDX-License-Identifier: MIT OR Apache-2.0
/* Drops telnet: TCP to port 23. See ../README.md for the corner cases. */
#include "nf_wasm_guest.h"

#define TELNET 23

NFW_SNAPLEN(64);

NFW_FILTER(ctx, pkt, len)
{
	const uint32_t protocol = ctx->transport_protocol;

	/* No port can be seen. Accept if there is none (no transport header, or a later fragment), else
	 * drop. */
	if (ctx->transport_offset == NFW_NO_TRANSPORT)
		return protocol == NFW_NO_TRANSPORT || protocol == NFW_LATER_FRAGMENT ? NFW_ACCEPT :
											NFW_DROP;
	if (protocol != NFW_TCP)
		return NFW_ACCEPT;
	if (!nfw_has(len, ctx->transport_offset, 4))
		return NFW_DROP;
	return nfw_be16(pkt + ctx->transport_offset + 2) == TELNET ? NFW_DROP : NFW_ACCEPT;
}
