// SPDX-License-Identifier: GPL-2.0-only
//! The kernels to choose from.

use crate::error::{Error, Result};

/// A kernel: one of Debian's, or one that is compiled here from the same source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// `linux-image-amd64`.
    Stock,
    /// `linux-image-cloud-amd64`: fewer drivers.
    Cloud,
    /// `linux-image-rt-amd64`: PREEMPT_RT.
    Rt,
    /// Compiled here, with KASAN, lockdep, kmemleak and fault injection.
    Debug,
    /// Compiled here, with KCSAN and lockdep.
    Kcsan,
}

impl Flavour {
    /// All flavours.
    pub const ALL: [Self; 5] = [Self::Stock, Self::Cloud, Self::Rt, Self::Debug, Self::Kcsan];
    /// The flavours that Debian builds.
    pub const DEBIAN: [Self; 3] = [Self::Stock, Self::Cloud, Self::Rt];
    /// The flavours for `--kernel all`. The fastest comes first. The slowest comes last: its kernel
    /// is compiled while the others are tested.
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

    /// The flavour's name on the command line.
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

    /// The flavour's name in Debian's metapackages. For a kernel that is compiled here, the name of
    /// the kernel whose source it shares.
    pub fn arch(self) -> &'static str {
        match self {
            Self::Stock | Self::Debug | Self::Kcsan => "amd64",
            Self::Cloud => "cloud-amd64",
            Self::Rt => "rt-amd64",
        }
    }

    /// The suffix of the release of a kernel that is compiled here, after the upstream version.
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
