// SPDX-License-Identifier: GPL-2.0-only
//! Instances of a Wasm module: building one, and calling it through the engine.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use kernel::prelude::*;

use crate::abi::guest::Context;
use crate::abi::ioctl::TIER_REASON_LEN;
use crate::abi::limits;
use crate::boundary::{self, BuildRequest, CallOutcome};
use crate::build::region::{self, Region};
use crate::build::requester::Requester;
use crate::build::thread::{self, CallRequest, Outcome, Work};
use crate::control::refusal::{refuse, Answer, Refusal, Text};
use crate::decode::check::Settings;
use crate::kernel_ext::cpu::Cpu;
use crate::kernel_ext::kthread::Killable;
use crate::kernel_ext::packet_call;
use crate::packet::host_functions::Host;
use crate::packet::native::Native;

/// One instance of a Wasm module.
///
/// # Invariants
///
/// `engine` came from `nf_wasm_engine_build` and lives in `region`.
pub(crate) struct Instance {
    /// Declared before `region`, so that it is dropped first: it contains addresses in the region.
    pub(crate) native: Option<Native>,
    engine: *mut c_void,
    pub(crate) region: KBox<Region>,
    /// Set of the capabilities that the Wasm module imports from.
    pub(crate) capabilities_used: u64,
    /// Why there is no native code, unless `interp` was requested: text with NUL.
    pub(crate) tier_reason: [u8; TIER_REASON_LEN],
}

impl Instance {
    /// Validates, translates and instantiates a Wasm module, on a build thread.
    pub(crate) fn build(
        wasm: &[u8],
        settings: &Settings,
        host: &mut Host<'_>,
        requester: &Requester<'_>,
    ) -> Answer<Self> {
        // A machine may have hundreds of CPUs: stop between two builds.
        if current!().is_killed() {
            refuse!(
                EINTR,
                "the caller was killed before all CPUs had an instance"
            );
        }
        let budget = limits::instance_bytes(wasm.len());
        let mut region = Region::new(budget, requester)?;
        let mut text = Text::new()?;
        let (bytes, used) = text.as_parts();
        let mut request = BuildRequest {
            wasm: wasm.as_ptr(),
            wasm_len: wasm.len(),
            capabilities: settings.capabilities,
            snaplen: settings.snaplen,
            memory_pages: limits::MEMORY_PAGES,
            init_fuel: limits::INIT_FUEL,
            host: host.as_raw(),
            text: bytes.as_mut_ptr(),
            text_len: bytes.len(),
            text_used: 0,
            instance: ptr::null_mut(),
            capabilities_used: 0,
            tier: settings.tier,
            compiled: false,
            native: MaybeUninit::uninit(),
            tier_reason: [0; TIER_REASON_LEN],
        };
        // SAFETY: All pointers are to data that this function borrows or owns until the thread is
        // done. The region is new, so the engine has kept no pointer into it.
        let outcome = unsafe { thread::run(Work::Build(&mut request), &mut region, requester)? };
        *used = request.text_used.min(bytes.len());
        let error = match outcome {
            Outcome::Returned(0) => None,
            Outcome::Returned(errno) => Some(Error::from_errno(errno)),
            Outcome::Aborted(error) => Some(error),
        };
        if let Some(error) = error {
            if *used == 0 && error == ENOMEM {
                return Err(Refusal::new(
                    ENOMEM,
                    fmt!(
                        "memory ran out while an instance was built, after {} of at most {} \
                         bytes; each CPU needs one instance",
                        region.bytes(),
                        budget
                    ),
                ));
            }
            return Err(Refusal {
                error,
                text: Some(text),
            });
        }
        let native = if request.compiled {
            // SAFETY: The engine writes it before it sets `compiled`.
            Some(Native(unsafe { request.native.assume_init() }))
        } else {
            None
        };
        // INVARIANT: The build succeeded, with this region.
        Ok(Instance {
            native,
            engine: request.instance,
            region,
            capabilities_used: request.capabilities_used,
            tier_reason: request.tier_reason,
        })
    }

    /// Bytes of kernel memory of the instance.
    pub(crate) fn bytes(&self) -> usize {
        let programs = self.native.iter().flat_map(Native::programs);
        // SAFETY: They came from `nf_wasm_host_jit`, and are freed with `native`, which is
        // borrowed.
        let bytes = programs.map(|program| unsafe { packet_call::program_bytes(program) });
        self.region.bytes() + bytes.sum::<usize>()
    }

    /// Whether the instance runs as native code.
    pub(crate) fn is_native(&self) -> bool {
        self.native.is_some()
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

    /// Whether the instance has native code that calls no host function.
    pub(crate) fn is_fast(&self) -> bool {
        let native = self.native.as_ref();
        native.is_some_and(|native| native.0.host.is_null())
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
        // invariants `engine` came from `build` and lives in that region. Host and context are
        // borrowed until the call returns, and the callbacks take such a host.
        unsafe {
            region::on_packet_path(cpu, region, || {
                boundary::nf_wasm_engine_call(self.engine, host.as_raw(), context, fuel)
            })
        }
    }
}
