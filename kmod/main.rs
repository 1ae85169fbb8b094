// SPDX-License-Identifier: GPL-2.0-only
//! nf_wasm: WebAssembly packet filters behind netfilter hooks.
//!
//! A packet takes the path in [`packet`]: netfilter calls the hook in `hook.c`. The hook disables
//! bottom halves, so that this CPU's packet path has one user, and calls a
//! decider. The decider looks up the filter's program. The program's instance for this CPU decides
//! the packet: in native code, or in the engine, which is called through the [`boundary`].
//!
//! A command takes the path in [`control`]: the device reads and validates its arguments, and
//! admission decides whether the Wasm module may run. Build threads ([`build`]) make an instance
//! for each CPU. The [`objects`] of the network namespace hold the result.

use kernel::miscdevice::{MiscDeviceOptions, MiscDeviceRegistration};
use kernel::prelude::*;

mod build;
mod control;
mod display;
mod kernel_ext;
mod objects;
mod packet;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "elsewhere this is a crate; the kernel half uses a part of it"
)]
#[path = "../shared/src/lib.rs"]
mod shared;

use shared::{abi, boundary, decode, machine};

/// The kernel module's version, for `NF_WASM_INFO`.
const VERSION: &str = "0.1.0";

module! {
    type: NfWasm,
    name: "nf_wasm",
    authors: ["The nf_wasm developers"],
    description: "WebAssembly packet filters behind netfilter hooks",
    license: "GPL",
    params: {
        fail_allocations: u8 {
            default: 0,
            description: "For tests: 1: the nth load or run fails at its nth allocation; 2: instances for CPUs that come online fail; 3: as 1, at every eighth allocation",
        },
        guest_test: bool {
            default: false,
            description: "For tests: answer NF_WASM_GUEST_TEST, which runs Wasm modules that are not filters",
        },
        user_namespaces: bool {
            default: false,
            description: "Accept CAP_NET_ADMIN in the user namespace that owns the network namespace (otherwise only in the initial one)",
        },
    },
}

/// The kernel module. Fields are dropped in order: the device first, so that no command runs while
/// namespaces are closed; CPU hotplug last, when no program is left.
#[pin_data]
struct NfWasm {
    #[pin]
    _device: MiscDeviceRegistration<control::device::Device>,
    _namespaces: objects::namespace::Registration,
    _programs: objects::programs::Registration,
}

impl kernel::InPlaceModule for NfWasm {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // The order matters: a command needs its namespace, and a program needs the set of
            // CPUs.
            // SAFETY: This is called once, before a program can be loaded.
            _programs: unsafe { objects::programs::Registration::new()? },
            // SAFETY: The kernel module is initialised once, and this is the only call.
            _namespaces: unsafe { objects::namespace::Registration::new()? },
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"nf_wasm" }),
        })
    }
}
