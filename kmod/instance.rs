// SPDX-License-Identifier: GPL-2.0-only
//! Instances of modules, how they are built, and how those with native code are called.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use kernel::bindings as kernel_bindings;
use kernel::prelude::*;

use crate::abi::guest::Context;
use crate::abi::ioctl::{NO_TRAP, TIER_REASON_LEN};
use crate::abi::limits;
use crate::abi::trap::Trap;
use crate::bindings;
use crate::boundary::{self, BuildRequest, CallOutcome, NativeCall};
use crate::cpu::Cpu;
use crate::decode::check::Settings;
use crate::machine::{Machine, LEN_SLOT, TRAPPED};
use crate::packet::{Host, Packet};
use crate::program::Program;
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

/// A filter's native code.
pub(crate) struct Native(pub(crate) NativeCall);

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: It is nobody's but ours, and does not run any more.
        unsafe { boundary::nf_wasm_host_jit_free(self.0.program) };
    }
}

/// How an instance decides packets natively.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) native: NativeCall,
    /// For each packet.
    pub(crate) fuel: u64,
    /// Whose instance it is: it lives as long as that.
    pub(crate) program: *const Program,
}

impl Call {
    /// Has the code decide a packet. Returns what the code returned: a verdict, or more than that.
    ///
    /// # Safety
    ///
    /// The code and what it works on are the caller's, and `packet` is. If the code calls the host,
    /// that was made ready.
    #[inline(always)]
    pub(crate) unsafe fn call(&self, packet: &Packet) -> u32 {
        let native = &self.native;
        // SAFETY: By the contract.
        unsafe {
            if !native.context.is_null() && !self.show(packet.skb, packet.state, packet.len) {
                return TRAPPED | Trap::Packet as u32;
            }
            (*native.machine).fuel = self.fuel as i64;
            (native.run)(native.machine)
        }
    }

    /// Puts a packet where the code looks for it. Returns whether that went well.
    ///
    /// # Safety
    ///
    /// As [`Self::call`].
    #[inline(always)]
    unsafe fn show(
        &self,
        skb: *const kernel_bindings::sk_buff,
        state: *const bindings::nf_hook_state,
        packet_len: u32,
    ) -> bool {
        let native = &self.native;
        let len = packet_len.min(native.snaplen);
        // SAFETY: By the contract, and there is room for so much.
        unsafe {
            Machine::slot(native.machine, LEN_SLOT).write(len.into());
            let window = len.min(native.window);
            let context = native.context.cast();
            bindings::nf_wasm_show(context, skb, state, packet_len, len, window) == 0
        }
    }

    /// Fuel that the last packet used, if it had enough.
    #[inline(always)]
    pub(crate) fn fuel_used(&self) -> u64 {
        // SAFETY: The machine is there as long as the instance is.
        let left = unsafe { (*self.native.machine).fuel };
        self.fuel.wrapping_sub(left as u64)
    }

    /// What became of a packet, by what the code returned for it.
    pub(crate) fn outcome(&self, code: u32) -> CallOutcome {
        let trap = code.checked_sub(TRAPPED).unwrap_or(NO_TRAP);
        CallOutcome {
            verdict: code as i32,
            trap,
            // A block is charged for when it is entered, and what does not suffice for it is as good
            // as used.
            fuel_used: if trap == Trap::OutOfFuel as u32 {
                self.fuel
            } else {
                self.fuel_used()
            },
        }
    }
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
        let native = self.native.as_ref().map_or(0, |native| {
            // SAFETY: It is the program, and lives.
            unsafe { bindings::nf_wasm_jit_bytes(native.0.program) }
        });
        self.region.bytes() + native
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

    /// See [`Slot::usual`].
    pub(crate) fn usual(&self, program: &Program) -> Option<Call> {
        let native = self.native.as_ref()?.0;
        native.host.is_null().then_some(Call {
            native,
            fuel: program.settings().fuel,
            program,
        })
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
