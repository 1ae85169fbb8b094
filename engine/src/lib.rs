// SPDX-License-Identifier: GPL-2.0-only
//! The engine: it validates WebAssembly packet filters, links their capabilities and runs them
//! under fuel.
//!
//! It does not depend on the kernel. In the kernel module it is one object behind a narrow boundary
//! (`kmod/engine`). In user space the loader uses [`inspect`] and [`Snapshot::new`] to check a
//! module before a load.
//!
//! - [`inspect`] decides whether a module may be loaded, and lists its imports, exports and
//!   capabilities. It enforces every limit.
//! - [`Snapshot::new`] translates, links, instantiates and initialises. It may allocate.
//! - [`Snapshot::instance`] copies the snapshot: an interpreted instance.
//! - [`Instance::call`] decides one packet. It only allocates for the error of a trap.
//! - [`Snapshot::compile`] compiles the filter. The caller makes the instances of the code.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

#[allow(
    unsafe_code,
    reason = "compiled code passes addresses to host functions"
)]
mod capability;
mod config;
mod guest;
pub mod guest_test;
mod host;
mod inspect;
mod instance;
#[allow(unsafe_code, reason = "compiled code passes addresses to its helpers")]
mod linkage;
#[allow(unsafe_code, reason = "compiled code works on addresses")]
mod native;
mod refusal;
mod snapshot;
mod state;
mod trap;
mod window;

pub use capability::{Function, Module, MODULES};
pub use host::{Clock, Host, Stage};
pub use inspect::{inspect, Export, ExternKind, Import, Inspection, MemoryPages};
pub use instance::{Instance, Outcome};
pub use linkage::{helper_addresses, HELPERS};
pub use native::{Compiled, NativeCode, OwnedMachine, Run, Unsupported};
pub use refusal::{Refusal, RefusalKind};
pub use snapshot::{Options, Snapshot};
