// SPDX-License-Identifier: GPL-2.0-only
//! Snapshots: a Wasm module that was built once, as the origin of a program's instances.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use kernel::prelude::*;

use crate::abi::ioctl::TIER_REASON_LEN;
use crate::abi::limits;
use crate::boundary::BuildRequest;
use crate::build::region::Region;
use crate::build::requester::Requester;
use crate::build::thread::{self, CopyRequest, Outcome, Work};
use crate::control::refusal::{refuse, Answer, Refusal, Text};
use crate::decode::check::Settings;
use crate::kernel_ext::cpu::Cpu;
use crate::kernel_ext::kthread::Killable;
use crate::objects::instance::{Instance, Interpreted};
use crate::objects::native_code::NativeCode;
use crate::packet::host_functions::Host;

/// What the instances of a program begin as.
enum Origin {
    Native(NativeCode),
    /// A snapshot of the engine, which lives in the region.
    Engine {
        snapshot: *const c_void,
        region: KBox<Region>,
    },
}

/// A Wasm module after validation, translation and initialisation, and its native code.
pub(crate) struct Snapshot {
    origin: Origin,
    /// Set of the capabilities that the Wasm module imports from.
    pub(crate) capabilities_used: u64,
    /// Why there is no native code, unless `interp` was requested: text with NUL.
    pub(crate) tier_reason: [u8; TIER_REASON_LEN],
}

// SAFETY: The engine's snapshot is memory of the region. Like the region and native code, it is not
// tied to a thread.
unsafe impl Send for Snapshot {}
// SAFETY: It does not change. A copy only reads it, except for counters of references, which are
// atomic, and takes no exclusive lock of the engine.
unsafe impl Sync for Snapshot {}

impl Snapshot {
    /// Validates, translates and initialises a Wasm module, on a build thread.
    pub(crate) fn build(
        wasm: &[u8],
        settings: &Settings,
        host: &mut Host<'_>,
        requester: &Requester<'_>,
    ) -> Answer<Self> {
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
            fuel: settings.fuel,
            host: host.as_raw(),
            text: bytes.as_mut_ptr(),
            text_len: bytes.len(),
            text_used: 0,
            snapshot: ptr::null_mut(),
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
                return Err(out_of_memory(&region, budget));
            }
            return Err(Refusal {
                error,
                text: Some(text),
            });
        }
        let origin = if request.compiled {
            // The engine's snapshot is freed with the region.
            // SAFETY: The engine writes it before it sets `compiled`. The region lives until the
            // end of this function.
            let code = unsafe { NativeCode::new(request.native.assume_init(), requester.place()) };
            Origin::Native(code.map_err(|_| out_of_memory(&region, budget))?)
        } else {
            Origin::Engine {
                snapshot: request.snapshot,
                region,
            }
        };
        Ok(Snapshot {
            origin,
            capabilities_used: request.capabilities_used,
            tier_reason: request.tier_reason,
        })
    }

    /// A new instance.
    ///
    /// # Safety
    ///
    /// The caller drops the instance before the snapshot.
    pub(crate) unsafe fn instance(
        &self,
        host: &mut Host<'_>,
        requester: &Requester<'_>,
    ) -> Answer<Instance> {
        // A machine may have hundreds of CPUs: stop between two copies.
        if current!().is_killed() {
            refuse!(
                EINTR,
                "the caller was killed before all CPUs had an instance"
            );
        }
        match &self.origin {
            Origin::Native(code) => match code.instance(requester.place()) {
                Ok(instance) => Ok(Instance::Native(instance)),
                Err(error) => refuse!(error, "memory ran out for an instance; each CPU needs one"),
            },
            // SAFETY: By the contract.
            Origin::Engine { snapshot, region } => unsafe {
                interpreted(*snapshot, region.budget(), host, requester)
            },
        }
    }

    /// Makes an instance what it was when it was made.
    ///
    /// # Safety
    ///
    /// The instance came from [`Self::instance`] of this. `cpu` is its packet path, and no other code
    /// uses it on it.
    pub(crate) unsafe fn restore(&self, instance: &mut Instance, cpu: &Cpu) {
        match (&self.origin, instance) {
            (Origin::Native(code), Instance::Native(instance)) => {
                // SAFETY: By the contract.
                unsafe { code.restore(instance) };
            }
            (Origin::Engine { snapshot, .. }, Instance::Interpreted(instance)) => {
                // SAFETY: By the contract.
                unsafe { instance.restore(cpu, *snapshot) };
            }
            // An instance is of its snapshot's kind.
            _ => {}
        }
    }

    /// The native code, if the filter was compiled.
    pub(crate) fn native(&self) -> Option<&NativeCode> {
        match &self.origin {
            Origin::Native(code) => Some(code),
            Origin::Engine { .. } => None,
        }
    }

    /// Bytes of kernel memory, for all instances together.
    pub(crate) fn bytes(&self) -> usize {
        match &self.origin {
            Origin::Native(code) => code.bytes(),
            Origin::Engine { region, .. } => region.bytes(),
        }
    }
}

/// Has the engine copy its snapshot, with at most `budget` bytes.
///
/// # Safety
///
/// The snapshot outlives the instance.
unsafe fn interpreted(
    snapshot: *const c_void,
    budget: usize,
    host: &mut Host<'_>,
    requester: &Requester<'_>,
) -> Answer<Instance> {
    let mut region = Region::new(budget, requester)?;
    let mut request = CopyRequest {
        snapshot,
        host: host.as_raw(),
        instance: ptr::null_mut(),
    };
    // SAFETY: The request is ours until the thread is done. By the contract the snapshot outlives
    // what is made in the region.
    let outcome = unsafe { thread::run(Work::Copy(&mut request), &mut region, requester)? };
    match outcome {
        Outcome::Returned(_) if request.instance.is_null() => refuse!(
            EIO,
            "the engine contradicts itself, please report this: no instance"
        ),
        // SAFETY: The engine made it in this region, of a snapshot that outlives it.
        Outcome::Returned(_) => Ok(Instance::Interpreted(unsafe {
            Interpreted::new(request.instance, region)
        })),
        Outcome::Aborted(ENOMEM) => Err(out_of_memory(&region, budget)),
        Outcome::Aborted(error) => Err(error.into()),
    }
}

fn out_of_memory(region: &Region, budget: usize) -> Refusal {
    Refusal::new(
        ENOMEM,
        fmt!(
            "memory ran out while the filter was built, after {} of at most {} bytes",
            region.bytes(),
            budget
        ),
    )
}
