// SPDX-License-Identifier: GPL-2.0-only
//! What is made of a request's bytes: the files of the `decode` crate, as they are, and what ties
//! them to the kernel.
#![allow(unreachable_pub, reason = "the files are a crate elsewhere")]

use kernel::fmt;
use kernel::prelude::*;

use crate::abi;

#[path = "../decode/src/check.rs"]
pub(crate) mod check;
#[path = "../decode/src/exchange.rs"]
pub(crate) mod exchange;
#[path = "../decode/src/name.rs"]
pub(crate) mod name;
#[path = "../decode/src/plain.rs"]
pub(crate) mod plain;
#[path = "../decode/src/wrong.rs"]
pub(crate) mod wrong;

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
