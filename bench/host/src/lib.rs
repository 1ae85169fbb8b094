// SPDX-License-Identifier: GPL-2.0-only
//! Nothing but benchmarks is in this package.
