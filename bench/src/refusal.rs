// SPDX-License-Identifier: GPL-2.0-only
//! Why a workload was not measured with a contender.

/// Why a contender is not attached.
pub enum Refusal {
    /// The contender has no way to do this.
    Cannot(&'static str),
    /// It has, but something is wrong.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
