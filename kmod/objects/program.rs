// SPDX-License-Identifier: GPL-2.0-only
//! Programs: a Wasm module with one instance for each CPU. Decides packets on this CPU's instance.

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
use crate::build::region;
use crate::build::requester::Requester;
use crate::control::admission::Admission;
use crate::control::refusal::Answer;
use crate::decode::check::Settings;
use crate::decode::name::Name;
use crate::kernel_ext::cpu::{Cpu, PerCpu};
use crate::kernel_ext::owner::Owner;
use crate::kernel_ext::packet_call;
use crate::kernel_ext::racy::Racy;
use crate::objects::instance::Instance;
use crate::packet::host_functions::{Host, Packet};
use crate::packet::logger::{Logger, Speaker};
use crate::packet::native;

/// An instance's native code, with what it needs to decide packets.
pub(crate) type Call = native::Call<Program>;

/// One CPU's instance, and its state.
#[repr(align(128))]
struct Slot {
    instance: UnsafeCell<Option<Instance>>,
    /// Whether the instance is deciding a packet. Detects recursion.
    busy: Cell<bool>,
    consecutive_traps: Cell<u32>,
    /// The value of [`Program::releases`] when `consecutive_traps` was last counted.
    releases: Cell<u32>,
    /// Whether the instance may take the fast path, on which `call` alone decides packets: it has
    /// native code, calls no host function, and has not just trapped.
    is_fast: Cell<bool>,
    /// Initialised if the instance has native code.
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

/// The decision for a packet.
pub(crate) struct Decision {
    pub(crate) accept: bool,
    /// The filter is quarantined, and did not run.
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
    /// How often the program was released from quarantine.
    releases: Atomic<u32>,
    wasm: KVVec<u8>,
    admission: Admission,
    /// Identifies its filter in the kernel's log.
    speaker: Speaker,
    /// The credentials of the task that loaded the program. All of its instances are built with
    /// them, later ones too. Instances for CPUs that come online are charged to no memory cgroup:
    /// with CPU hotplug locked, a charge must not wait for a full cgroup.
    owner: Owner,
    /// Number of CPUs that have an instance.
    instances: Atomic<u32>,
    /// Number of instances that run as native code.
    compiled: Atomic<u32>,
    /// Why the last instance that was built without native code has none.
    #[pin]
    tier_reason: SpinLock<[u8; TIER_REASON_LEN]>,
    /// Set of the capabilities that the Wasm module imports from.
    capabilities_used: Atomic<u64>,
    /// Bytes of kernel memory for each instance.
    memory_per_cpu: Atomic<usize>,
    /// Pinned, because the list of programs contains its address.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A slot is used by its own CPU's packet path, which has one user at a time. While no
// packet reaches the slot, the code that equips or strips it may use it, under the contract of
// `equip` and `strip`. Nothing else in a program is tied to a thread.
unsafe impl Send for Program {}
// SAFETY: Two threads with a `&Program` use different slots, or one of them waits until the other
// has left the CPU, as above. Everything outside of the slots is atomic, behind a lock, or
// constant.
unsafe impl Sync for Program {}

impl Program {
    /// A program without instances, of an admitted Wasm module. Later builds use the credentials of
    /// `owner`.
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

    /// The name of its filter, and whether its log lines are shown.
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
            // SAFETY: By the contract no packet reaches the slot, and no other code equips or
            // strips it: there is no writer.
            unsafe { (*slot.instance.get()).is_some() }
        })
    }

    /// Builds an instance for the CPU with number `cpu`, which has none.
    ///
    /// # Safety
    ///
    /// No packet reaches the program on that CPU, because the program is not published or the CPU
    /// does not run. And either no other code uses the program, or the caller holds the lock of the
    /// list of programs.
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
            // SAFETY: By the contract no packet reaches the slot, and no other code equips or
            // strips it.
            unsafe { (*slot.call.get()).write(call) };
            self.compiled.fetch_add(1, Relaxed);
        } else {
            *self.tier_reason.lock() = instance.tier_reason;
        }
        // SAFETY: By the contract no packet reaches the slot, and no other code equips or strips
        // it.
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
        // SAFETY: By the contract no packet reaches the slot, and no other code equips or strips
        // it.
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

    /// Set of the capabilities that the Wasm module imports from.
    pub(crate) fn capabilities_used(&self) -> u64 {
        self.capabilities_used.load(Relaxed)
    }

    /// Bytes of kernel memory for each instance.
    pub(crate) fn memory_per_cpu(&self) -> usize {
        self.memory_per_cpu.load(Relaxed)
    }

    /// Number of CPUs that have an instance.
    pub(crate) fn instances(&self) -> u32 {
        self.instances.load(Relaxed)
    }

    /// Number of instances that run as native code.
    pub(crate) fn compiled(&self) -> u32 {
        self.compiled.load(Relaxed)
    }

    /// Why an instance has no native code, unless `interp` was requested: text with NUL. Empty if
    /// all have it.
    pub(crate) fn tier_reason(&self) -> [u8; TIER_REASON_LEN] {
        *self.tier_reason.lock()
    }

    pub(crate) fn quarantined(&self) -> bool {
        self.quarantined.get()
    }

    /// Lets a quarantined program run again, and resets the trap count of each CPU. The caller has
    /// waited for the packets that arrived before the quarantine: a trap on one of them would
    /// quarantine the program again.
    pub(crate) fn release(&self) {
        self.releases.fetch_add(1, Relaxed);
        self.quarantined.set(false);
    }

    /// The native code of this CPU's instance, if it may take the fast path: see [`Slot::is_fast`].
    #[inline(always)]
    pub(crate) fn fast_path<'a>(&'a self, cpu: &'a Cpu) -> Option<&'a Call> {
        let slot = self.slots.here(cpu);
        if !slot.is_fast.get() || self.quarantined() {
            return None;
        }
        // SAFETY: It was written before `is_fast` was set. The cell is written only while no packet
        // can reach the slot. A packet can while `cpu` is entered, and the reference does not
        // outlive `cpu`.
        Some(unsafe { (*slot.call.get()).assume_init_ref() })
    }

    /// The decision for a packet on which a call of [`Self::fast_path`] trapped with `code`. Counts
    /// the trap for the program of `call`, even if the filter has another one by now.
    ///
    /// # Safety
    ///
    /// `call` is this CPU's, and its program has not been freed.
    #[cold]
    pub(crate) unsafe fn note_fast_path_trap(cpu: &Cpu, call: &Call, code: u32) -> Decision {
        // SAFETY: `call` has the address of the program that it was made for, and by the contract
        // that has not been freed. The program is shared: only its slots change, and this CPU's
        // slot is ours.
        let program = unsafe { &*call.program };
        let outcome = call.outcome(code);
        program.conclude(program.slots.here(cpu), &outcome)
    }

    /// Decides a packet.
    ///
    /// # Safety
    ///
    /// The caller owns `packet`, which is at a hook with the state `packet.state`.
    #[inline(always)]
    pub(crate) unsafe fn decide(
        &self,
        cpu: &Cpu,
        packet: &Packet<'_>,
        logger: &Logger,
    ) -> Decision {
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
        // SAFETY: The slot is this CPU's, we own the CPU's packet path, and by `busy` no call
        // further up the stack uses the slot. By the contract we own the packet.
        let outcome = unsafe {
            (*slot.instance.get())
                .as_mut()
                .map(|instance| self.ask(slot, instance, cpu, packet, logger))
        };
        slot.busy.set(false);
        match outcome {
            Some(outcome) => self.conclude(slot, &outcome),
            // Memory ran out when the CPU came online. The filter did not trap, so this does not
            // count towards quarantine.
            None => Decision::trapped(policy, Trap::Internal as u32, 0),
        }
    }

    /// Counts traps towards quarantine, and returns the decision.
    #[inline(always)]
    fn conclude(&self, slot: &Slot, outcome: &CallOutcome) -> Decision {
        if outcome.trap != NO_TRAP {
            // Bytes that the kernel cannot read (device memory) are not the filter's fault.
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
    /// The instance is that of `slot`, `slot` is that of `cpu`, and no other code uses the
    /// instance. The caller owns `packet`, which is at a hook with the state `packet.state`.
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
            // SAFETY: By the contract `cpu` is entered, and no other code uses the instance.
            return unsafe { instance.call(cpu, &mut host, &mut context, fuel) };
        };
        let native = &native.0;
        // SAFETY: It was written together with the instance, which has native code. By the contract
        // no other code uses the slot.
        let call = unsafe { (*slot.call.get()).assume_init_ref() };
        if !native.host.is_null() {
            // SAFETY: Both addresses are in the instance's region, which no other code uses. If one
            // is not null, neither is the other.
            unsafe {
                *native.host = host.as_raw();
                *native.packet_len = packet.len;
            }
        }
        // SAFETY: `cpu` is entered, and no other code uses the instance's region. The code runs on
        // the machine of the same instance. The caller owns the packet. The host, which the code
        // passes to host functions, lives until the code has returned.
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
        // SAFETY: The slot is that of the caller's CPU, and no call is in progress.
        let instance = unsafe { (*slot.instance.get()).as_ref() };
        slot.is_fast.set(instance.is_some_and(Instance::is_fast));
    }

    /// Counts a trap, and quarantines the program if it keeps trapping.
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
            // Keep the count: a release or a verdict resets it.
            self.quarantined.set(true);
        }
    }
}
