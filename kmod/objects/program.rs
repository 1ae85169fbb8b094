// SPDX-License-Identifier: GPL-2.0-only
//! Programs: a Wasm module that was built once, with one instance for each CPU. Decides packets on
//! this CPU's instance.

use core::marker::PhantomPinned;

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::barrier::{smp_mb, Read, Write};

use crate::abi::capability::LOG;
use crate::abi::guest::ACCEPT;
use crate::abi::ioctl::{NO_TRAP, QUARANTINE_NEVER, TIER_REASON_LEN};
use crate::abi::trap::Trap;
use crate::boundary::CallOutcome;
use crate::build::requester::Requester;
use crate::control::admission::Admission;
use crate::control::refusal::Answer;
use crate::decode::check::Settings;
use crate::decode::name::Name;
use crate::kernel_ext::cpu::{Cpu, PerCpu};
use crate::kernel_ext::packet_call;
use crate::kernel_ext::racy::Racy;
use crate::objects::instance::Instance;
use crate::objects::reload::Before;
use crate::objects::slot::{Path, Slot};
use crate::objects::snapshot::Snapshot;
use crate::packet::host_functions::{Host, Packet};
use crate::packet::logger::{Logger, Speaker};
use crate::packet::native;

/// An instance's native code, with what it needs to decide packets.
pub(crate) type Call = native::Call<Program>;

/// The capabilities whose host functions may send packets, which may reach the same filter: a line
/// of the log may go to a network console.
const SENDING: u64 = LOG.bit;

/// The decision for a packet.
pub(crate) struct Decision {
    pub(crate) accept: bool,
    /// The filter did not run: it is quarantined, or the instance waits for its reload.
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

    /// The trap policy decides, without asking the filter.
    fn unasked(accept: bool) -> Self {
        Decision {
            accept,
            quarantined: true,
            trap: NO_TRAP,
            fuel: 0,
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

/// A Wasm module with its settings and snapshot, and an instance for each CPU that is online.
#[pin_data]
pub(crate) struct Program {
    /// Declared before `snapshot`, so that the instances are dropped first.
    slots: PerCpu<Slot<Self>>,
    snapshot: Snapshot,
    settings: Settings,
    quarantined: Racy<bool>,
    /// How often the program was released from quarantine.
    releases: Atomic<u32>,
    wasm: KVVec<u8>,
    admission: Admission,
    /// Identifies its filter in the kernel's log.
    speaker: Speaker,
    /// Number of CPUs that have an instance.
    instances: Atomic<u32>,
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
// has left the CPU, as above. Everything outside of the slots is atomic or constant.
unsafe impl Sync for Program {}

impl Program {
    /// Builds a program without instances, of an admitted Wasm module, for `requester`.
    pub(crate) fn new(
        wasm: KVVec<u8>,
        admission: Admission,
        settings: Settings,
        logger: &Logger,
        requester: &Requester<'_>,
    ) -> Answer<Pin<KBox<Self>>> {
        let host = &mut Host::init(logger);
        let snapshot = Snapshot::build(&wasm, &settings, host, requester)?;
        let slots = PerCpu::new(Slot::empty)?;
        Ok(KBox::pin_init(
            try_pin_init!(Program {
                slots,
                snapshot,
                settings,
                quarantined: Racy::new(false),
                releases: Atomic::new(0),
                wasm,
                admission,
                speaker: *logger.speaker(),
                instances: Atomic::new(0),
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

    /// Makes an instance for the CPU with number `cpu`, which has none.
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
        // SAFETY: The slots, which own it, are dropped before the snapshot.
        let instance = unsafe { self.snapshot.instance(host, requester)? };
        self.memory_per_cpu
            .store(size_of::<Slot<Self>>() + instance.bytes(), Relaxed);
        slot.consecutive_traps.set(0);
        slot.releases.set(self.releases.load(Relaxed));
        slot.reload.forget();
        if let (Instance::Native(instance), Some(code)) = (&instance, self.snapshot.native()) {
            let call = Call::new(code, instance, self.settings.fuel, self);
            // SAFETY: By the contract no packet reaches the slot, and no other code equips or
            // strips it. Slots do not move.
            unsafe { slot.set_call(call) };
        }
        slot.best_path.set(self.best_path(slot));
        self.restore_path(slot);
        // SAFETY: By the contract no packet reaches the slot, and no other code equips or strips
        // it.
        unsafe { *slot.instance.get() = Some(instance) };
        self.instances.fetch_add(1, Relaxed);
        Ok(())
    }

    /// The path of an instance that has not just trapped. If there is native code, the slot's call
    /// was written.
    fn best_path(&self, slot: &Slot<Self>) -> Path {
        if self.settings.recycle != 0 {
            return Path::Checked;
        }
        let Some(code) = self.snapshot.native() else {
            return Path::Any;
        };
        if code.calls_host() {
            return match self.snapshot.capabilities_used & SENDING {
                0 => Path::Host,
                _ => Path::Any,
            };
        }
        // SAFETY: By the contract. Nobody writes it now: the caller owns the slot.
        let call = unsafe { slot.call() };
        match (call.reads_packet(), call.runs_in_place()) {
            (false, _) => Path::Bare,
            (true, true) => Path::InPlace,
            (true, false) => Path::Copy,
        }
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
        slot.set_path(Path::Checked);
        // SAFETY: By the contract no packet reaches the slot, and no other code equips or strips
        // it.
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

    /// Set of the capabilities that the Wasm module imports from.
    pub(crate) fn capabilities_used(&self) -> u64 {
        self.snapshot.capabilities_used
    }

    /// Bytes of kernel memory for each instance.
    pub(crate) fn memory_per_cpu(&self) -> usize {
        self.memory_per_cpu.load(Relaxed)
    }

    /// Bytes of kernel memory that all instances share.
    pub(crate) fn memory_shared(&self) -> usize {
        size_of::<Self>() + self.wasm.len() + self.snapshot.bytes()
    }

    /// Number of CPUs that have an instance.
    pub(crate) fn instances(&self) -> u32 {
        self.instances.load(Relaxed)
    }

    /// Number of instances that run as native code: all or none.
    pub(crate) fn compiled(&self) -> u32 {
        match self.snapshot.native() {
            Some(_) => self.instances(),
            None => 0,
        }
    }

    /// Why there is no native code, unless `interp` was requested: text with NUL. Empty if there is.
    pub(crate) fn tier_reason(&self) -> [u8; TIER_REASON_LEN] {
        self.snapshot.tier_reason
    }

    pub(crate) fn quarantined(&self) -> bool {
        self.quarantined.get()
    }

    /// Number of reloads of its instances.
    pub(crate) fn reloads(&self) -> u64 {
        self.slots.iter().map(|slot| slot.reload.count()).sum()
    }

    /// Lets a quarantined program run again. Resets the trap count of each CPU, whose instance is
    /// restored before it decides a packet. The caller has waited for the packets that arrived before
    /// the quarantine: a trap on one of them would quarantine the program again.
    pub(crate) fn release(&self) {
        if !self.quarantined() {
            return;
        }
        self.releases.fetch_add(1, Relaxed);
        // Pairs with the barrier in `check`: a CPU that sees the end of the quarantine sees the
        // release.
        smp_mb(Write);
        self.quarantined.set(false);
    }

    /// This CPU's instance.
    #[inline(always)]
    pub(crate) fn slot<'a>(&'a self, cpu: &'a Cpu) -> &'a Slot<Self> {
        self.slots.here(cpu)
    }

    /// The decision for a packet on which `call` trapped with `code`. Counts
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
        program.conclude_trap(program.slots.here(cpu), &outcome)
    }

    /// Stops deciding packets in place, after [`Call::note_copy`] returned true for `call`.
    ///
    /// # Safety
    ///
    /// As [`Self::note_fast_path_trap`].
    #[cold]
    pub(crate) unsafe fn stop_in_place(cpu: &Cpu, call: &Call) {
        // SAFETY: As in `note_fast_path_trap`.
        let program = unsafe { &*call.program };
        let slot = program.slots.here(cpu);
        slot.best_path.set(program.best_path(slot));
        program.restore_path(slot);
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
        let policy = self.settings.accepts_trapped();
        let slot = self.slots.here(cpu);
        let Some(busy) = slot.enter() else {
            return Decision::trapped(policy, Trap::Reentered as u32, 0);
        };
        // SAFETY: The slot is this CPU's, we own the CPU's packet path, and by `busy` no call
        // further up the stack uses the slot.
        let Some(instance) = (unsafe { (*slot.instance.get()).as_mut() }) else {
            // Memory ran out when the CPU came online. The filter did not trap, so this does not
            // count towards quarantine.
            return Decision::trapped(policy, Trap::Internal as u32, 0);
        };
        let is_checked = slot.takes(Path::Checked);
        // SAFETY: As above, for the slot and its instance.
        if is_checked && !unsafe { self.check(slot, instance, cpu) } {
            return Decision::unasked(policy);
        }
        // SAFETY: As above, for the slot and its instance. By the contract we own the packet.
        let outcome = unsafe { self.ask(slot, instance, cpu, packet, logger) };
        drop(busy);
        if outcome.trap != NO_TRAP {
            return self.conclude_trap(slot, &outcome);
        }
        if is_checked {
            self.forget_traps(slot);
        }
        Decision::verdict(outcome.verdict as u32, outcome.fuel_used)
    }

    /// Prepares an instance on [`Path::Checked`] for a packet. Returns false if the trap policy has
    /// to decide the packet.
    ///
    /// # Safety
    ///
    /// The instance is that of `slot`, `slot` is that of `cpu`, and no other code uses the instance.
    #[cold]
    unsafe fn check(&self, slot: &Slot<Self>, instance: &mut Instance, cpu: &Cpu) -> bool {
        if self.quarantined() {
            return false;
        }
        smp_mb(Read);
        let releases = self.releases.load(Relaxed);
        if slot.releases.replace(releases) != releases {
            slot.consecutive_traps.set(0);
            slot.reload.forget();
            slot.reload.want();
        }
        match slot.reload.before_packet(self.settings.recycle) {
            Before::Nothing => {}
            Before::Wait => return false,
            // SAFETY: By the contract. Every instance of a program is its snapshot's.
            Before::Restore => unsafe { self.snapshot.restore(instance, cpu) },
        }
        true
    }

    /// Counts a trap towards quarantine, and returns the decision.
    #[cold]
    fn conclude_trap(&self, slot: &Slot<Self>, outcome: &CallOutcome) -> Decision {
        // Bytes that the kernel cannot read (device memory) are not the filter's fault.
        if outcome.trap != Trap::Packet as u32 {
            self.note_trap(slot);
        }
        let policy = self.settings.accepts_trapped();
        Decision::trapped(policy, outcome.trap, outcome.fuel_used)
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
        slot: &Slot<Self>,
        instance: &mut Instance,
        cpu: &Cpu,
        packet: &Packet<'_>,
        logger: &Logger,
    ) -> CallOutcome {
        if let Instance::Interpreted(instance) = instance {
            let mut host = Host::packet(packet.skb, logger);
            let mut context = packet_call::context(packet.skb, packet.state);
            let fuel = self.settings.fuel;
            // SAFETY: By the contract `cpu` is entered, and no other code uses the instance.
            return unsafe { instance.call(cpu, &mut host, &mut context, fuel) };
        }
        let mut host = Host::packet(packet.skb, logger);
        // SAFETY: The instance is native. By the contract no other code uses the slot, and the
        // caller owns the packet. The host lives until the code has returned.
        unsafe {
            slot.set_host(&mut host, packet.len);
            let call = slot.call();
            call.outcome(call.run_any(packet))
        }
    }

    /// Returns to the fast path after traps, if the instance may take it.
    #[cold]
    fn forget_traps(&self, slot: &Slot<Self>) {
        slot.consecutive_traps.set(0);
        if slot.best_path.get() != Path::Checked {
            self.restore_path(slot);
        }
    }

    /// Lets an instance take its best path, unless the program is quarantined.
    fn restore_path(&self, slot: &Slot<Self>) {
        slot.set_path(slot.best_path.get());
        // Pairs with the barrier in `begin_quarantine`: either this sees the quarantine, or the path
        // is overwritten there.
        smp_mb(Full);
        if self.quarantined() {
            slot.set_path(Path::Checked);
        }
    }

    /// Quarantines the program. The fast paths do not look at `quarantined`.
    #[cold]
    fn begin_quarantine(&self) {
        self.quarantined.set(true);
        smp_mb(Full);
        for slot in self.slots.iter() {
            slot.set_path(Path::Checked);
        }
    }

    /// Counts a trap, and quarantines the program if it keeps trapping.
    fn note_trap(&self, slot: &Slot<Self>) {
        slot.set_path(Path::Checked);
        let consecutive = slot.consecutive_traps.get().saturating_add(1);
        slot.consecutive_traps.set(consecutive);
        let gives_up = self.settings.reloads_trapped() && !slot.reload.want_after_trap();
        let limit = self.settings.quarantine;
        if limit != QUARANTINE_NEVER && (gives_up || consecutive >= limit) {
            // Keep the count: a release or a verdict resets it.
            self.begin_quarantine();
        }
    }
}
