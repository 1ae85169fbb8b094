/* SPDX-License-Identifier: GPL-2.0-only */
/* What bindgen reads to make bindings_generated.rs; the Kbuild file says what it takes from here. */
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <net/net_namespace.h>

#include "helpers.h"
