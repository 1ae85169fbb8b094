// SPDX-License-Identifier: GPL-2.0-only
//! The engine: it validates WebAssembly packet filters, links their capabilities and runs them
//! under fuel.
//!
//! It does not depend on the kernel. In the kernel module it is one object behind a narrow boundary
//! (`kmod/engine`). In user space the loader uses [`inspect`] and [`Instance::new`] to check a
//! module before a load.
//!
//! - [`inspect`] decides whether a module may be loaded, and lists its imports, exports and
//!   capabilities. It enforces every limit.
//! - [`Instance::new`] translates, links, instantiates, initialises and warms up. It may allocate.
//! - [`Instance::call`] decides one packet. It only allocates for the error of a trap.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod capability;
mod config;
mod guest;
pub mod guest_test;
mod host;
mod inspect;
mod instance;
#[allow(unsafe_code, reason = "native code and its helpers pass addresses")]
mod linkage;
#[allow(unsafe_code, reason = "compiled code works on addresses")]
mod native;
mod refusal;
mod state;
mod trap;
mod warm;
mod window;

pub use capability::{Function, Module, MODULES};
pub use host::{Clock, Host, Stage};
pub use inspect::{inspect, Export, ExternKind, Import, Inspection, MemoryPages};
pub use instance::{Instance, Options, Outcome};
pub use linkage::{helper_address, Entry};
pub use native::{NativeCode, Run, Unsupported};
pub use refusal::{Refusal, RefusalKind};
