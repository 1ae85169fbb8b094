// SPDX-License-Identifier: GPL-2.0-only
//! The kernels to choose from.

use crate::error::{Error, Result};

/// A kernel: one of those that Debian builds, or one that is compiled here from the same source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// `linux-image-amd64`.
    Stock,
    /// `linux-image-cloud-amd64`: fewer drivers.
    Cloud,
    /// `linux-image-rt-amd64`: PREEMPT_RT.
    Rt,
    /// Ours: KASAN, lockdep, kmemleak, fault injection.
    Debug,
    /// Ours: KCSAN, lockdep.
    Kcsan,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Stock, Self::Cloud, Self::Rt, Self::Debug, Self::Kcsan];
    /// Those that Debian builds.
    pub const DEBIAN: [Self; 3] = [Self::Stock, Self::Cloud, Self::Rt];
    /// Those that the tests are run on when all are asked for: the quickest to answer first, and the one
    /// that takes longest, for which a kernel is compiled while those before are tested.
    pub const TESTED: [Self; 3] = [Self::Stock, Self::Rt, Self::Debug];

    /// The flavour called `name`.
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|flavour| flavour.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|flavour| flavour.name()).collect();
                Error::new(format!(
                    "There is no kernel {name:?}, only {}",
                    names.join(", ")
                ))
            })
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Cloud => "cloud",
            Self::Rt => "rt",
            Self::Debug => "debug",
            Self::Kcsan => "kcsan",
        }
    }

    /// Whether it is compiled here.
    pub fn is_own(self) -> bool {
        !Self::DEBIAN.contains(&self)
    }

    /// What Debian's metapackages call it, or the kernel whose source it shares.
    pub fn arch(self) -> &'static str {
        match self {
            Self::Stock | Self::Debug | Self::Kcsan => "amd64",
            Self::Cloud => "cloud-amd64",
            Self::Rt => "rt-amd64",
        }
    }

    /// What follows the upstream version in the release of a kernel that is compiled here.
    pub fn local_version(self) -> String {
        format!("-nf-wasm-{}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for flavour in Flavour::ALL {
            assert_eq!(Flavour::named(flavour.name()).unwrap(), flavour);
        }
        assert!(Flavour::named("vanilla").is_err());
    }
}
