// SPDX-License-Identifier: GPL-2.0-only
//! The engine as an object.
#![no_std]
