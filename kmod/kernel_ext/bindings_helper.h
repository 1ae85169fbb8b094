/* SPDX-License-Identifier: GPL-2.0-only */
/* Input of bindgen for bindings_generated.rs; Kbuild lists the items that it generates. */
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <net/net_namespace.h>

#include "helpers.h"
