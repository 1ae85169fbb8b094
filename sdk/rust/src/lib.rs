// SPDX-License-Identifier: MIT OR Apache-2.0
//! Write packet filters for nf_wasm in Rust.
//!
//! A filter is a function from a [`Packet`] to a [`Verdict`]. Pass it to [`filter!`]:
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
//! The functions of each capability are in a module of its own: [`packet`], [`log`], [`clock`],
//! [`mark`]. A filter that calls none of a module's functions does not need the capability.
//!
//! Every CPU has its own instance with its own memory, and decides one packet at a time. So statics
//! need no locks, and relaxed atomics compile to plain loads and stores.
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

/// The verdict on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Verdict {
    /// Drop it.
    Drop = nf_wasm_shared::abi::guest::DROP,
    /// Accept it.
    Accept = nf_wasm_shared::abi::guest::ACCEPT,
}
