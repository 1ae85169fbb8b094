// SPDX-License-Identifier: GPL-2.0-only
//! The engine.
#![no_std]
