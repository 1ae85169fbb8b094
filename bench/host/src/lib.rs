// SPDX-License-Identifier: GPL-2.0-only
//! This package has only benchmarks.
