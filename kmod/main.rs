// SPDX-License-Identifier: GPL-2.0-only
//! nf_wasm: WebAssembly packet filters behind netfilter hooks.
//!
//! A packet's way: netfilter calls `hook.c`, which enters the CPU and calls a [`decider`]; that
//! looks up the filter's program ([`filter`], [`program`]) and hands the packet ([`packet`]) to
//! this CPU's [`instance`]: to its native code, or over the [`boundary`] to the engine. A filter's
//! way: [`device`] takes the command, [`command`] makes sense of it, [`admission`] decides whether
//! the module may run, [`thread`] has the engine build an instance in a [`region`] for each CPU
//! that is online or comes ([`programs`]), and [`namespace`] keeps the result in its [`tables`],
//! with an [`attachment`] for each hook; [`audit`] writes it down.

use kernel::miscdevice::{MiscDeviceOptions, MiscDeviceRegistration};
use kernel::prelude::*;

mod admission;
mod attachment;
mod audit;
mod bindings;
mod command;
mod counters;
mod cpu;
mod decider;
mod device;
mod display;
mod filter;
mod grace_period;
mod guest_test;
mod hook_registration;
mod instance;
mod killable;
mod logger;
mod namespace;
mod native;
mod order;
mod owner;
mod packet;
mod pause;
mod program;
mod programs;
mod racy;
mod refusal;
mod region;
mod request;
mod run;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "elsewhere this is a crate; the kernel half uses a part of it"
)]
#[path = "../shared/src/lib.rs"]
mod shared;
mod tables;
mod thread;

use shared::{abi, boundary, decode, machine};

/// The module's version, for `NF_WASM_INFO`.
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
            description: "For tests: 1: the nth instance that is built fails at its nth allocation; 2: those for CPUs that come online fail",
        },
        guest_test: u8 {
            default: 0,
            description: "For tests: answer NF_WASM_GUEST_TEST, which runs modules that are no filters",
        },
        user_namespaces: u8 {
            default: 0,
            description: "Accept CAP_NET_ADMIN in the user namespace that owns the network namespace (0: only in the initial one)",
        },
    },
}

/// The module. The device goes first, so that nothing new comes in while namespaces are closed; and
/// CPUs are watched until no program is left.
#[pin_data]
struct NfWasm {
    #[pin]
    _device: MiscDeviceRegistration<device::Device>,
    _namespaces: namespace::Registration,
    _programs: programs::Registration,
}

impl kernel::InPlaceModule for NfWasm {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // In this order, so that a command finds its namespace, and programs their CPUs.
            // SAFETY: This is called once, before there is a way to load anything.
            _programs: unsafe { programs::Registration::new()? },
            // SAFETY: A module is initialised once, and this is the only call.
            _namespaces: unsafe { namespace::Registration::new()? },
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"nf_wasm" }),
        })
    }
}
