// SPDX-License-Identifier: GPL-2.0-only
//! Makes the build root and the patched dependencies, the first step of every verb that builds.

use crate::error::Result;
use crate::files::Cache;
use crate::patched::Patched;
use crate::progress::Progress;
use crate::root::Root;
use std::path::Path;

/// Makes the build root.
pub fn build_root(cache: &Cache, checkout: &Path) -> Result<Root> {
    let _lock = cache.lock()?;
    Root::make(cache, checkout, &Progress::start())
}

/// Makes the build root and the patched dependencies.
pub fn root(cache: &Cache, checkout: &Path) -> Result<(Root, Patched)> {
    let _lock = cache.lock()?;
    let progress = Progress::start();
    let root = Root::make(cache, checkout, &progress)?;
    let patched = Patched::make(&root, cache, checkout, &progress)?;
    Ok((root, patched))
}
