// SPDX-License-Identifier: GPL-2.0-only
//! Code that several fuzz targets share.

pub mod caller;
pub mod meter;
