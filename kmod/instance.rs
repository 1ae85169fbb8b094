// SPDX-License-Identifier: GPL-2.0-only
//! Instances of modules, and how they are built.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use kernel::prelude::*;

use crate::abi::guest::Context;
use crate::abi::ioctl::TIER_REASON_LEN;
use crate::abi::limits;
use crate::bindings;
use crate::boundary::{self, BuildRequest, CallOutcome};
use crate::cpu::Cpu;
use crate::decode::check::Settings;
use crate::native::Native;
use crate::packet::Host;
use crate::refusal::{refuse, Answer, Refusal, Text};
use crate::region::{self, Failing, Region};
use crate::thread::{self, Outcome, Work};

/// One instance of a module.
///
/// # Invariants
///
/// `engine` came from `nf_wasm_engine_build` and lives in `region`.
pub(crate) struct Instance {
    pub(crate) engine: *mut c_void,
    pub(crate) region: KBox<Region>,
    /// Goes before the region does: it is what runs.
    pub(crate) native: Option<Native>,
    /// Set of the capabilities that the module imports from.
    pub(crate) capabilities_used: u64,
    /// Why there is no native code, if it was not asked for: text with NUL.
    pub(crate) tier_reason: [u8; TIER_REASON_LEN],
}

impl Instance {
    /// Validates, translates and instantiates on a thread of its own.
    pub(crate) fn build(
        wasm: &[u8],
        settings: &Settings,
        host: &mut Host<'_>,
        failing: Failing,
    ) -> Answer<Self> {
        // A build cannot be interrupted, and a machine may have hundreds of CPUs.
        // SAFETY: Only reads the calling task's state.
        if unsafe { bindings::nf_wasm_killed() } {
            refuse!(
                EINTR,
                "the caller was killed before all CPUs had an instance"
            );
        }
        let budget = limits::instance_bytes(wasm.len());
        let mut region = Region::new(budget, failing)?;
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
        // SAFETY: All pointers are to what this function borrows or owns.
        let outcome = unsafe { thread::run(Work::Build(&mut request), &mut region)? };
        *used = request.text_used.min(bytes.len());
        let error = match outcome {
            Outcome::Returned(0) => None,
            Outcome::Returned(errno) => Some(Error::from_errno(errno)),
            Outcome::GivenUp(error) => Some(error),
        };
        if let Some(error) = error {
            if *used == 0 && error == ENOMEM {
                return Err(Refusal::new(
                    ENOMEM,
                    fmt!(
                        "memory ran out while an instance was built, after {} of at most {} \
                         bytes; each CPU needs as much",
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
            // SAFETY: It was written if the filter was compiled.
            Some(Native(unsafe { request.native.assume_init() }))
        } else {
            None
        };
        // INVARIANT: The build went well, with this region.
        Ok(Instance {
            engine: request.instance,
            native,
            region,
            capabilities_used: request.capabilities_used,
            tier_reason: request.tier_reason,
        })
    }

    /// Bytes of kernel memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let programs = self.native.iter().flat_map(Native::programs);
        // SAFETY: They are programs, and live.
        let bytes = programs.map(|program| unsafe { bindings::nf_wasm_jit_bytes(program) });
        self.region.bytes() + bytes.sum::<usize>()
    }

    /// Whether it runs as native code.
    pub(crate) fn is_native(&self) -> bool {
        self.native.is_some()
    }

    /// Runs the guest once, on whatever CPU this is, for an instance that belongs to no program.
    pub(crate) fn run_once(
        &mut self,
        host: &mut Host<'_>,
        context: &mut Context,
        fuel: u64,
    ) -> CallOutcome {
        let cpu = Cpu::enter();
        // SAFETY: The CPU was entered, and `&mut self` says that nobody else has the instance.
        unsafe { self.call(&cpu, host, context, fuel) }
    }

    /// Whether it was compiled and calls no host function.
    pub(crate) fn is_usual(&self) -> bool {
        let native = self.native.as_ref();
        native.is_some_and(|native| native.0.host.is_null())
    }

    /// Hands a packet to the guest.
    ///
    /// # Safety
    ///
    /// `cpu` stands for a packet path that nobody else uses this instance on.
    pub(crate) unsafe fn call(
        &mut self,
        cpu: &Cpu,
        host: &mut Host<'_>,
        context: &mut Context,
        fuel: u64,
    ) -> CallOutcome {
        let region: *mut Region = &mut *self.region;
        // SAFETY: By the contract the CPU and the instance are ours; by the invariants the region
        // is the instance's.
        unsafe {
            region::on_packet_path(cpu, region, || {
                boundary::nf_wasm_engine_call(self.engine, host.as_raw(), context, fuel)
            })
        }
    }
}
