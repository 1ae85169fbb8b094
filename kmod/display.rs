// SPDX-License-Identifier: GPL-2.0-only
//! Implements the kernel's `Display` for validated ioctl arguments.

use kernel::fmt;
use kernel::prelude::*;

use crate::decode::{check, name, wrong};

impl fmt::Display for name::Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for wrong::Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for check::Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_fmt(fmt!("with id {id}")),
            Self::Name(name) => f.write_fmt(fmt!("named '{name}'")),
        }
    }
}
