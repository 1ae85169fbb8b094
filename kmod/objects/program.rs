// SPDX-License-Identifier: GPL-2.0-only
//! Programs: a Wasm module with one instance for each CPU, and how the instance of a CPU decides a packet.

use core::cell::{Cell, UnsafeCell};
use core::marker::PhantomPinned;
use core::mem::MaybeUninit;

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{new_spinlock, SpinLock};

use crate::abi::guest::ACCEPT;
use crate::abi::ioctl::{NO_TRAP, QUARANTINE_NEVER, TIER_REASON_LEN, TRAP_ACCEPT};
use crate::abi::trap::Trap;
use crate::boundary::CallOutcome;
use crate::kernel_ext::owner::Owner;
use crate::kernel_ext::packet_call;
use crate::build::region;
use crate::build::requester::Requester;
use crate::control::admission::Admission;
use crate::control::refusal::Answer;
use crate::decode::check::Settings;
use crate::decode::name::Name;
use crate::kernel_ext::cpu::{Cpu, PerCpu};
use crate::kernel_ext::racy::Racy;
use crate::objects::instance::Instance;
use crate::packet::host_functions::{Host, Packet};
use crate::packet::logger::{Logger, Speaker};
use crate::packet::native;

/// How an instance of a program decides packets natively.
pub(crate) type Call = native::Call<Program>;

/// One CPU's place for an instance.
#[repr(align(128))]
struct Slot {
    instance: UnsafeCell<Option<Instance>>,
    /// The instance is deciding a packet.
    busy: Cell<bool>,
    consecutive_traps: Cell<u32>,
    /// [`Program::releases`] when that was counted.
    releases: Cell<u32>,
    /// The instance may take the fast path, on which `call` alone decides packets: it was compiled,
    /// calls no host function, and has not just trapped.
    is_fast: Cell<bool>,
    /// How an instance that was compiled decides.
    call: UnsafeCell<MaybeUninit<Call>>,
}

impl Slot {
    fn empty() -> Self {
        Slot {
            instance: UnsafeCell::new(None),
            busy: Cell::new(false),
            consecutive_traps: Cell::new(0),
            releases: Cell::new(0),
            is_fast: Cell::new(false),
            call: UnsafeCell::new(MaybeUninit::uninit()),
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

impl Decision {
    pub(crate) fn verdict(verdict: u32, fuel: u64) -> Self {
        Decision {
            accept: verdict == ACCEPT as u32,
            quarantined: false,
            trap: NO_TRAP,
            fuel,
        }
    }

    pub(crate) fn trapped(accept: bool, trap: u32, fuel: u64) -> Self {
        Decision {
            accept,
            quarantined: false,
            trap,
            fuel,
        }
    }
}

/// A Wasm module with its settings, and an instance for each CPU that is online.
#[pin_data]
pub(crate) struct Program {
    slots: PerCpu<Slot>,
    settings: Settings,
    quarantined: Racy<bool>,
    /// Times that it was released from quarantine.
    releases: Atomic<u32>,
    wasm: KVVec<u8>,
    admission: Admission,
    /// Its filter.
    speaker: Speaker,
    /// The credentials of who loaded it, or had it replace another: its instances are built with them,
    /// whenever that is. Nobody is charged for those that CPUs get when they come online: with hotplug
    /// locked, a charge must not wait until a cgroup has room.
    owner: Owner,
    /// How many slots are not empty.
    instances: Atomic<u32>,
    /// How many of them have native code.
    compiled: Atomic<u32>,
    /// Why one that was built had none.
    #[pin]
    tier_reason: SpinLock<[u8; TIER_REASON_LEN]>,
    /// Set of the capabilities that the module imports from.
    capabilities_used: Atomic<u64>,
    /// Bytes of kernel memory for each instance.
    memory_per_cpu: Atomic<usize>,
    /// The list of programs has its address.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A slot is used by its own CPU's packet path, which has one user at a time, and, while
// that does not exist, by whoever equips or strips it, under the contract of these. Nothing else in it
// has a tie to a thread.
unsafe impl Send for Program {}
// SAFETY: Two threads with a `&Program` use different slots, or one of them waits until the other
// has let the CPU go, as above. What is not in slots is atomic, behind a lock, or does not change.
unsafe impl Sync for Program {}

impl Program {
    /// A program without instances, of a module that was admitted. `owner` is whose credentials later
    /// builds have.
    pub(crate) fn new(
        wasm: KVVec<u8>,
        admission: Admission,
        settings: Settings,
        logger: &Logger,
        owner: Owner,
    ) -> Answer<Pin<KBox<Self>>> {
        let slots = PerCpu::new(Slot::empty)?;
        Ok(KBox::pin_init(
            try_pin_init!(Program {
                slots,
                settings,
                quarantined: Racy::new(false),
                releases: Atomic::new(0),
                wasm,
                admission,
                speaker: *logger.speaker(),
                owner,
                instances: Atomic::new(0),
                compiled: Atomic::new(0),
                tier_reason <- new_spinlock!([0; TIER_REASON_LEN]),
                capabilities_used: Atomic::new(0),
                memory_per_cpu: Atomic::new(0),
                _pin: PhantomPinned,
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    pub(crate) fn name(&self) -> &Name {
        &self.speaker.name
    }

    /// The filter, as it speaks.
    pub(crate) fn speaker(&self) -> &Speaker {
        &self.speaker
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Whether the CPU with number `cpu` has an instance.
    ///
    /// # Safety
    ///
    /// As [`Self::equip`].
    pub(crate) unsafe fn is_equipped(&self, cpu: usize) -> bool {
        self.slots.of(cpu).is_some_and(|slot| {
            // SAFETY: By the contract no packet meets the slot, and nobody else equips or strips it: there is
            // no writer.
            unsafe { (*slot.instance.get()).is_some() }
        })
    }

    /// Builds an instance for the CPU with number `cpu`, which has none.
    ///
    /// # Safety
    ///
    /// No packet meets the program on that CPU, because it is not published or the CPU does not
    /// run; and the caller is alone with the program, or holds the list of programs.
    pub(crate) unsafe fn equip(
        &self,
        cpu: usize,
        logger: &Logger,
        requester: &Requester<'_>,
    ) -> Answer {
        let slot = self.slots.of(cpu).ok_or(EINVAL)?;
        let host = &mut Host::init(logger);
        let instance = Instance::build(&self.wasm, &self.settings, host, requester)?;
        self.capabilities_used
            .store(instance.capabilities_used, Relaxed);
        self.memory_per_cpu
            .store(size_of::<Slot>() + instance.bytes(), Relaxed);
        slot.consecutive_traps.set(0);
        slot.is_fast.set(instance.is_fast());
        if let Some(native) = &instance.native {
            let call = Call::new(&native.0, self.settings.fuel, self);
            // SAFETY: By the contract no packet meets the slot, and nobody else equips or strips it.
            unsafe { (*slot.call.get()).write(call) };
            self.compiled.fetch_add(1, Relaxed);
        } else {
            *self.tier_reason.lock() = instance.tier_reason;
        }
        // SAFETY: By the contract no packet meets the slot, and nobody else equips or strips it.
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
        slot.is_fast.set(false);
        // SAFETY: By the contract no packet meets the slot, and nobody else equips or strips it.
        if let Some(instance) = unsafe { (*slot.instance.get()).take() } {
            self.instances.fetch_sub(1, Relaxed);
            if instance.native.is_some() {
                self.compiled.fetch_sub(1, Relaxed);
            }
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

    /// How many of these instances run as native code.
    pub(crate) fn compiled(&self) -> u32 {
        self.compiled.load(Relaxed)
    }

    /// Why one does not, if it does not and that was not asked for: text with NUL.
    pub(crate) fn tier_reason(&self) -> [u8; TIER_REASON_LEN] {
        *self.tier_reason.lock()
    }

    pub(crate) fn quarantined(&self) -> bool {
        self.quarantined.get()
    }

    /// Lets a quarantined program run again. All CPUs count traps anew. The caller has waited until
    /// no packet was left that came before the quarantine: its trap would bring it back.
    pub(crate) fn release(&self) {
        self.releases.fetch_add(1, Relaxed);
        self.quarantined.set(false);
    }

    /// How this CPU's instance decides packets, if the fast path may: see [`Slot::is_fast`].
    #[inline(always)]
    pub(crate) fn fast_path<'a>(&'a self, cpu: &'a Cpu) -> Option<&'a Call> {
        let slot = self.slots.here(cpu);
        if !slot.is_fast.get() || self.quarantined() {
            return None;
        }
        // SAFETY: It was written before `is_fast` was set. The cell is written only while no
        // packet meets the slot, and one does as long as `cpu` is entered, which the reference does not
        // outlive.
        Some(unsafe { (*slot.call.get()).assume_init_ref() })
    }

    /// What becomes of a packet that a call of [`Self::fast_path`] trapped on, with `code`. The trap is
    /// noted with the call's own program, whatever the filter has by now.
    ///
    /// # Safety
    ///
    /// `call` is this CPU's, and its program lives.
    #[cold]
    pub(crate) unsafe fn note_fast_path_trap(cpu: &Cpu, call: &Call, code: u32) -> Decision {
        // SAFETY: The call's program is the one that it was made for, and lives, as the caller
        // says. It is shared: only its slots change, and this CPU's is ours.
        let program = unsafe { &*call.program };
        let outcome = call.outcome(code);
        program.conclude(program.slots.here(cpu), &outcome)
    }

    /// Decides a packet.
    ///
    /// # Safety
    ///
    /// `packet` is the caller's, at a hook with the state that it says.
    #[inline(always)]
    pub(crate) unsafe fn decide(&self, cpu: &Cpu, packet: &Packet<'_>, logger: &Logger) -> Decision {
        let policy = self.settings.trap_policy == TRAP_ACCEPT;
        let slot = self.slots.here(cpu);
        if self.quarantined() {
            return Decision {
                accept: policy,
                quarantined: true,
                trap: NO_TRAP,
                fuel: 0,
            };
        }
        if slot.busy.replace(true) {
            return Decision::trapped(policy, Trap::Reentered as u32, 0);
        }
        // SAFETY: The slot is this CPU's, we are alone with its packet path, and `busy` says that
        // no call of ours is on it further down the stack. The packet is ours, as the caller says.
        let outcome = unsafe {
            (*slot.instance.get())
                .as_mut()
                .map(|instance| self.ask(slot, instance, cpu, packet, logger))
        };
        slot.busy.set(false);
        match outcome {
            Some(outcome) => self.conclude(slot, &outcome),
            // There was no memory for one when the CPU came online, which is not the filter's fault.
            None => Decision::trapped(policy, Trap::Internal as u32, 0),
        }
    }

    /// Draws conclusions for later packets.
    #[inline(always)]
    fn conclude(&self, slot: &Slot, outcome: &CallOutcome) -> Decision {
        if outcome.trap != NO_TRAP {
            // That a packet's bytes are in a device's memory is not the filter's fault.
            if outcome.trap != Trap::Packet as u32 {
                self.note_trap(slot);
            }
            let policy = self.settings.trap_policy == TRAP_ACCEPT;
            return Decision::trapped(policy, outcome.trap, outcome.fuel_used);
        }
        if slot.consecutive_traps.get() != 0 {
            self.forget_traps(slot);
        }
        Decision::verdict(outcome.verdict as u32, outcome.fuel_used)
    }

    /// Has an instance decide a packet.
    ///
    /// # Safety
    ///
    /// The instance is the slot's and used by nobody else, the slot is that of `cpu`, and `packet`
    /// is the caller's, at a hook with the state that it says.
    #[inline(always)]
    unsafe fn ask(
        &self,
        slot: &Slot,
        instance: &mut Instance,
        cpu: &Cpu,
        packet: &Packet<'_>,
        logger: &Logger,
    ) -> CallOutcome {
        let fuel = self.settings.fuel;
        let mut host = Host::packet(packet.skb, logger);
        let Some(native) = &instance.native else {
            let mut context = packet_call::context(packet.skb, packet.state);
            // SAFETY: `cpu` is entered, and nobody else uses the instance, as the caller says.
            return unsafe { instance.call(cpu, &mut host, &mut context, fuel) };
        };
        let native = &native.0;
        // SAFETY: It was written when the instance came, which was compiled. By the contract the slot is
        // used by nobody else.
        let call = unsafe { (*slot.call.get()).assume_init_ref() };
        if !native.host.is_null() {
            // SAFETY: Both places are in the instance's region, which is ours with the instance;
            // where one is there, the other is.
            unsafe {
                *native.host = host.as_raw();
                *native.packet_len = packet.len;
            }
        }
        // SAFETY: `cpu` is entered, and the region is the instance's, which nobody else uses. The
        // code runs on the machine of the same instance; the packet is the caller's, and the host
        // that the code hands to host functions lives until it has returned.
        let code = unsafe {
            region::on_packet_path(cpu, &mut *instance.region, || match call.run(packet) {
                code if call.wants_copy(code) => call.run_on_copy(packet.skb, packet.len),
                code => code,
            })
        };
        call.outcome(code)
    }

    /// Returns to the fast path after traps, if the instance may take it.
    #[cold]
    fn forget_traps(&self, slot: &Slot) {
        slot.consecutive_traps.set(0);
        // SAFETY: The slot is the caller's CPU's, and no call is under way.
        let instance = unsafe { (*slot.instance.get()).as_ref() };
        slot.is_fast.set(instance.is_some_and(Instance::is_fast));
    }

    /// Counts a trap, and has a program that keeps trapping quarantined.
    #[cold]
    fn note_trap(&self, slot: &Slot) {
        slot.is_fast.set(false);
        let releases = self.releases.load(Relaxed);
        if slot.releases.replace(releases) != releases {
            slot.consecutive_traps.set(0);
        }
        let consecutive = slot.consecutive_traps.get().saturating_add(1);
        slot.consecutive_traps.set(consecutive);
        if self.settings.quarantine != QUARANTINE_NEVER && consecutive >= self.settings.quarantine {
            // The count stays: a release has it begin anew, and a verdict ends it.
            self.quarantined.set(true);
        }
    }
}
