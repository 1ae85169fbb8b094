// SPDX-License-Identifier: GPL-2.0-only
//! Generates filters, settings and packets from random bytes.
//!
//! - [`case`]: a filter, its settings and packets, all of it made from random bytes; the filter is
//!   from [`smith`] (anything that is valid) or from [`program`] (what filters do, at its edges)
//! - [`arithmetic`]: modules for compilers; [`cases`]: which of them a test tries
//! - [`packet`]: packets alone
//! - [`random`]: bytes from a seed and a number, the same on every machine

pub mod arithmetic;
pub mod case;
pub mod cases;
pub mod packet;
pub mod program;
pub mod random;
pub mod smith;

pub use arbitrary::{Result, Unstructured};
