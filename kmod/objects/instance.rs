// SPDX-License-Identifier: GPL-2.0-only
//! Instances: one CPU's copy of a snapshot.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use kernel::prelude::*;

use crate::abi::guest::Context;
use crate::boundary::{self, CallOutcome};
use crate::build::region::{self, Region};
use crate::build::requester::Requester;
use crate::build::thread::{self, CallRequest, Outcome, Work};
use crate::control::refusal::{refuse, Answer};
use crate::kernel_ext::cpu::Cpu;
use crate::objects::native_code::NativeInstance;
use crate::packet::host_functions::Host;

/// One CPU's copy of a snapshot.
pub(crate) enum Instance {
    Native(NativeInstance),
    Interpreted(Interpreted),
}

impl Instance {
    /// Bytes of kernel memory of the instance.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Instance::Native(instance) => instance.bytes(),
            Instance::Interpreted(instance) => instance.region.bytes(),
        }
    }
}

/// An instance that the engine interprets.
///
/// # Invariants
///
/// `engine` came from `nf_wasm_engine_copy` and lives in `region`. The snapshot that it is a copy of
/// outlives it: they share the translated code.
pub(crate) struct Interpreted {
    engine: *mut c_void,
    region: KBox<Region>,
}

// SAFETY: The engine's instance is memory of the region. Like the region, it is not tied to the
// thread that made it.
unsafe impl Send for Interpreted {}

impl Interpreted {
    /// # Safety
    ///
    /// `engine` came from `nf_wasm_engine_copy` and lives in `region`. The caller drops this before
    /// the snapshot.
    pub(crate) unsafe fn new(engine: *mut c_void, region: KBox<Region>) -> Self {
        // INVARIANT: By the contract.
        Interpreted { engine, region }
    }

    /// Runs the guest once, for an instance that belongs to no program. It runs on a build thread,
    /// not on a CPU's packet path, so it delays neither packets nor other tasks.
    pub(crate) fn run_once(
        &mut self,
        host: &mut Host<'_>,
        context: &mut Context,
        fuel: u64,
        requester: &Requester<'_>,
    ) -> Answer<CallOutcome> {
        let mut request = CallRequest {
            engine: self.engine,
            host: host.as_raw(),
            context,
            fuel,
            outcome: MaybeUninit::uninit(),
        };
        // SAFETY: All pointers are to data that this function borrows until the thread is done. By
        // `&mut self` no other code uses the instance, and by the invariants it lives in the
        // region.
        let outcome =
            unsafe { thread::run(Work::Call(&mut request), &mut self.region, requester)? };
        match outcome {
            // SAFETY: The thread writes the outcome before it returns.
            Outcome::Returned(_) => Ok(unsafe { request.outcome.assume_init() }),
            Outcome::Aborted(error) => refuse!(
                error,
                "memory ran out while the filter ran, or the engine panicked; the kernel's log says which"
            ),
        }
    }

    /// Has the engine restore the instance.
    ///
    /// # Safety
    ///
    /// As [`Self::call`]. `snapshot` is what the instance was copied from.
    pub(crate) unsafe fn restore(&mut self, cpu: &Cpu, snapshot: *const c_void) {
        let region: *mut Region = &mut *self.region;
        // SAFETY: As in `call`, and by the contract.
        unsafe {
            region::on_packet_path(cpu, region, || {
                boundary::nf_wasm_engine_restore(self.engine, snapshot);
            });
        }
    }

    /// Has the engine decide a packet.
    ///
    /// # Safety
    ///
    /// `cpu` is the packet path of this instance, and no other code uses the instance on it.
    pub(crate) unsafe fn call(
        &mut self,
        cpu: &Cpu,
        host: &mut Host<'_>,
        context: &mut Context,
        fuel: u64,
    ) -> CallOutcome {
        let region: *mut Region = &mut *self.region;
        // SAFETY: By `&mut self` no other code uses the instance, and with it the region. By the
        // invariants `engine` came from `nf_wasm_engine_copy` and lives in that region. Host and
        // context are borrowed until the call returns, and the callbacks take such a host.
        unsafe {
            region::on_packet_path(cpu, region, || {
                boundary::nf_wasm_engine_call(self.engine, host.as_raw(), context, fuel)
            })
        }
    }
}
