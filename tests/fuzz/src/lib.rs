// SPDX-License-Identifier: GPL-2.0-only
//! Code that the fuzz targets share.

pub mod caller;
pub mod meter;
