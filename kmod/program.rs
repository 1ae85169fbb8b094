// SPDX-License-Identifier: GPL-2.0-only
//! Programs: a Wasm module, instantiated once for each CPU that is online, and how it decides a
//! packet.

use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;
use core::marker::PhantomPinned;
use core::ptr;

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

use crate::abi::guest::{Context, ACCEPT};
use crate::abi::ioctl::{NO_TRAP, QUARANTINE_NEVER, TRAP_ACCEPT};
use crate::abi::limits;
use crate::abi::trap::Trap;
use crate::admission::Admission;
use crate::bindings;
use crate::boundary::{self, BuildRequest, CallOutcome};
use crate::cpu::{Cpu, PerCpu};
use crate::decode::check::Settings;
use crate::decode::name::Name;
use crate::logger::Logger;
use crate::packet::Host;
use crate::programs;
use crate::racy::Racy;
use crate::refusal::{refuse, Answer, Refusal, Text};
use crate::region::{self, Failing, Region};
use crate::thread::{self, Outcome, Work};

/// One instance of a module.
///
/// # Invariants
///
/// `engine` came from `nf_wasm_engine_build` and lives in `region`.
pub(crate) struct Instance {
    engine: *mut c_void,
    region: KBox<Region>,
    /// Set of the capabilities that the module imports from.
    capabilities_used: u64,
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
        // INVARIANT: The build went well, with this region.
        Ok(Instance {
            engine: request.instance,
            region,
            capabilities_used: request.capabilities_used,
        })
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

    /// Hands a packet to the guest.
    ///
    /// # Safety
    ///
    /// `cpu` stands for a packet path that nobody else uses this instance on.
    #[inline(always)]
    unsafe fn call(
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

/// One CPU's place for an instance.
#[repr(align(64))]
struct Slot {
    instance: UnsafeCell<Option<Instance>>,
    /// The instance is deciding a packet.
    busy: Cell<bool>,
    consecutive_traps: Cell<u32>,
    /// [`Program::releases`] when that was counted.
    releases: Cell<u32>,
}

impl Slot {
    fn empty() -> Self {
        Slot {
            instance: UnsafeCell::new(None),
            busy: Cell::new(false),
            consecutive_traps: Cell::new(0),
            releases: Cell::new(0),
        }
    }
}

/// A packet's fate.
pub(crate) struct Decision {
    pub(crate) accept: bool,
    /// The filter was not asked.
    pub(crate) quarantined: bool,
    /// Number of a [`Trap`], or [`NO_TRAP`].
    pub(crate) trap: u32,
    pub(crate) fuel: u64,
}

/// A module with its settings, and an instance for each CPU that is online.
///
/// # Invariants
///
/// It is enlisted from [`Self::new`] until it is dropped, and stays where it is.
#[pin_data(PinnedDrop)]
pub(crate) struct Program {
    slots: PerCpu<Slot>,
    settings: Settings,
    quarantined: Racy<bool>,
    /// Times that it was released from quarantine.
    releases: Atomic<u32>,
    wasm: KVVec<u8>,
    admission: Admission,
    /// Its filter's.
    name: Name,
    /// How many slots are not empty.
    instances: Atomic<u32>,
    /// Set of the capabilities that the module imports from.
    capabilities_used: Atomic<u64>,
    /// Bytes of kernel memory for each instance.
    memory_per_cpu: Atomic<usize>,
    /// The list of programs has its address.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A slot is used by its own CPU's packet path, which has one user at a time, and, while
// that does not exist, by whoever equips or strips it, under the contract of these.
unsafe impl Send for Program {}
// SAFETY: As above.
unsafe impl Sync for Program {}

impl Program {
    /// Builds an instance of a module that was admitted for each CPU that is online, and sees to
    /// those that come.
    pub(crate) fn new(
        wasm: KVVec<u8>,
        admission: Admission,
        settings: Settings,
        logger: &Logger,
    ) -> Answer<Pin<KBox<Self>>> {
        let slots = PerCpu::new(Slot::empty)?;
        // INVARIANT: It is enlisted before anybody sees it.
        let program = KBox::pin_init(
            try_pin_init!(Program {
                slots,
                settings,
                quarantined: Racy::new(false),
                releases: Atomic::new(0),
                wasm,
                admission,
                name: *logger.name(),
                instances: Atomic::new(0),
                capabilities_used: Atomic::new(0),
                memory_per_cpu: Atomic::new(0),
                _pin: PhantomPinned,
            }? Error),
            GFP_KERNEL,
        )?;
        // SAFETY: It was just made.
        unsafe { programs::enlist(program.as_ref(), logger)? };
        Ok(program)
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// Whether the CPU with number `cpu` has an instance.
    ///
    /// # Safety
    ///
    /// As [`Self::equip`].
    pub(crate) unsafe fn is_equipped(&self, cpu: usize) -> bool {
        self.slots.of(cpu).is_some_and(|slot| {
            // SAFETY: By the contract nobody writes to the slot meanwhile.
            unsafe { (*slot.instance.get()).is_some() }
        })
    }

    /// Builds an instance for the CPU with number `cpu`, which has none.
    ///
    /// # Safety
    ///
    /// No packet meets the program on that CPU, because it is not published or the CPU does not
    /// run; and the caller is alone with the program, or holds the list of programs.
    pub(crate) unsafe fn equip(&self, cpu: usize, logger: &Logger, failing: Failing) -> Answer {
        let slot = self.slots.of(cpu).ok_or(EINVAL)?;
        let host = &mut Host::init(logger);
        let instance = Instance::build(&self.wasm, &self.settings, host, failing)?;
        self.capabilities_used
            .store(instance.capabilities_used, Relaxed);
        self.memory_per_cpu
            .store(size_of::<Slot>() + instance.region.bytes(), Relaxed);
        slot.consecutive_traps.set(0);
        // SAFETY: By the contract nobody else uses the slot.
        unsafe { *slot.instance.get() = Some(instance) };
        self.instances.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Frees the instance of the CPU with number `cpu`, if it has one.
    ///
    /// # Safety
    ///
    /// As [`Self::equip`].
    pub(crate) unsafe fn strip(&self, cpu: usize) {
        let Some(slot) = self.slots.of(cpu) else {
            return;
        };
        // SAFETY: By the contract nobody else uses the slot.
        if unsafe { (*slot.instance.get()).take() }.is_some() {
            self.instances.fetch_sub(1, Relaxed);
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn wasm(&self) -> &[u8] {
        &self.wasm
    }

    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Set of the capabilities that the module imports from.
    pub(crate) fn capabilities_used(&self) -> u64 {
        self.capabilities_used.load(Relaxed)
    }

    /// Bytes of kernel memory for each instance.
    pub(crate) fn memory_per_cpu(&self) -> usize {
        self.memory_per_cpu.load(Relaxed)
    }

    /// How many CPUs have an instance.
    pub(crate) fn instances(&self) -> u32 {
        self.instances.load(Relaxed)
    }

    pub(crate) fn quarantined(&self) -> bool {
        self.quarantined.get()
    }

    /// Lets a quarantined program run again. All CPUs count traps anew.
    pub(crate) fn release(&self) {
        self.releases.fetch_add(1, Relaxed);
        self.quarantined.set(false);
    }

    /// Decides the packet that `context` describes and `host` gives access to.
    pub(crate) fn decide(&self, cpu: &Cpu, host: &mut Host<'_>, context: &mut Context) -> Decision {
        let policy = self.settings.trap_policy == TRAP_ACCEPT;
        if self.quarantined() {
            return Decision {
                accept: policy,
                quarantined: true,
                trap: NO_TRAP,
                fuel: 0,
            };
        }
        let trapped = |trap, fuel| Decision {
            accept: policy,
            quarantined: false,
            trap,
            fuel,
        };
        let Some(slot) = self.slots.get(cpu) else {
            return trapped(Trap::Internal as u32, 0);
        };
        if slot.busy.replace(true) {
            return trapped(Trap::Reentered as u32, 0);
        }
        // SAFETY: The slot is this CPU's, we are alone with its packet path, and `busy` says that
        // no call of ours is on it further down the stack.
        let Some(instance) = (unsafe { &mut *slot.instance.get() }) else {
            // There was no memory for one when the CPU came online.
            slot.busy.set(false);
            return trapped(Trap::Internal as u32, 0);
        };
        // SAFETY: As above.
        let outcome = unsafe { instance.call(cpu, host, context, self.settings.fuel) };
        slot.busy.set(false);

        if outcome.trap == NO_TRAP {
            if slot.consecutive_traps.get() != 0 {
                slot.consecutive_traps.set(0);
            }
            return Decision {
                accept: outcome.verdict == ACCEPT,
                quarantined: false,
                trap: NO_TRAP,
                fuel: outcome.fuel_used,
            };
        }
        let releases = self.releases.load(Relaxed);
        if slot.releases.replace(releases) != releases {
            slot.consecutive_traps.set(0);
        }
        let consecutive = slot.consecutive_traps.get().saturating_add(1);
        slot.consecutive_traps.set(consecutive);
        if self.settings.quarantine != QUARANTINE_NEVER && consecutive >= self.settings.quarantine {
            slot.consecutive_traps.set(0);
            self.quarantined.set(true);
        }
        trapped(outcome.trap, outcome.fuel_used)
    }
}

#[pinned_drop]
impl PinnedDrop for Program {
    fn drop(self: Pin<&mut Self>) {
        programs::delist(self.as_ref().get_ref());
    }
}
