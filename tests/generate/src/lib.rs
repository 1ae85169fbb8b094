// SPDX-License-Identifier: GPL-2.0-only
//! Generates filters, settings and packets from random bytes.
//!
//! - [`case`]: a filter, its settings and packets, all made from random bytes. The filter is from
//!   [`smith`] (any valid module) or from [`program`] (a module that resembles real filters)
//! - [`arithmetic`]: modules that test compilers; [`cases`]: which cases a test runs
//! - [`packet`]: packets only
//! - [`random`]: bytes from a seed and an index, the same on every machine

pub mod arithmetic;
pub mod case;
pub mod cases;
pub mod packet;
pub mod program;
pub mod random;
pub mod smith;

pub use arbitrary::{Result, Unstructured};
