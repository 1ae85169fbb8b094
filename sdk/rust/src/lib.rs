// SPDX-License-Identifier: MIT OR Apache-2.0
//! Write packet filters for nf_wasm in Rust.
//!
//! A filter is a function from a [`Packet`] to a [`Verdict`], handed to [`filter!`]:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! use nf_wasm_sdk::{filter, protocol, Packet, Verdict};
//!
//! filter!(no_tcp);
//!
//! fn no_tcp(packet: &Packet) -> Verdict {
//!     match packet.transport() {
//!         Some(transport) if transport.protocol == protocol::TCP => Verdict::Drop,
//!         _ => Verdict::Accept,
//!     }
//! }
//! ```
//!
//! What a filter may do beyond looking at its window is in one module per capability:
//! [`packet`], [`log`], [`clock`], [`mark`]. A filter that calls none of a module's functions does
//! not import from it, and need not be granted it.
//!
//! Every CPU has an instance of its own, with a memory of its own and one packet at a time:
//! statics need no locks, and relaxed atomics compile to plain loads and stores.
#![no_std]

mod buffer;
pub mod clock;
mod entry;
pub mod import;
pub mod log;
mod manifest;
pub mod mark;
pub mod packet;
mod parse;

pub use nf_wasm_shared::abi::guest::Context;
pub use parse::{protocol, NoTransport, Packet, Transport};

#[doc(hidden)]
pub use entry::decide;

/// What is to become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Verdict {
    /// Drop it.
    Drop = nf_wasm_shared::abi::guest::DROP,
    /// Let it go on.
    Accept = nf_wasm_shared::abi::guest::ACCEPT,
}
