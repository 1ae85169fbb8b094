// SPDX-License-Identifier: GPL-2.0-only
//! What the fuzz targets share.

pub mod caller;
pub mod meter;
