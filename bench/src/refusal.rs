// SPDX-License-Identifier: GPL-2.0-only
//! Why a workload was not measured with a contender.

/// Why a contender is not attached.
pub enum Refusal {
    /// The contender cannot do the task. The text says why.
    Cannot(&'static str),
    /// The contender can do the task, but could not be attached.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
