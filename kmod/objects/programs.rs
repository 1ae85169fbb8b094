// SPDX-License-Identifier: GPL-2.0-only
//! The list of all programs, and CPU hotplug.
//!
//! When a CPU comes online, each program gets an instance for it before the CPU runs. When a CPU is
//! dead, its instances are freed, unless it is offline for a suspend. Both happen in hotplug
//! callbacks, with CPU hotplug locked for writing. A load does not lock hotplug: the list has its
//! own set of CPUs, and the list's lock orders loads and bring-ups.
//!
//! Lock order: the list's lock comes after a namespace's `turn` and after CPU hotplug. While it is
//! held, only the kernel's allocator is called, and in a bring-up interpreted instances are copied
//! on threads. Neither locks hotplug, RTNL or tables.
//!
//! A filter never keeps a CPU offline. If an instance cannot be made, the CPU has none, and the
//! filter's trap policy decides every packet there. The exception: if the task that brings the CPU
//! up is killed, the CPU stays offline.

use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr;

use kernel::cpu::nr_cpu_ids;
use kernel::prelude::*;

use crate::build::requester::Requester;
use crate::control::admission::Admission;
use crate::control::refusal::Answer;
use crate::decode::check::Settings;
use crate::kernel_ext::hotplug::{CpuEvents, HotplugRegistration};
use crate::kernel_ext::kthread::Killable;
use crate::kernel_ext::owner::Owner;
use crate::kernel_ext::rcu_pointer::IntoRaw;
use crate::objects::program::Program;
use crate::packet::logger::Logger;

kernel::sync::global_lock! {
    // SAFETY: Initialised in the kernel module's init, before there is a program or a callback.
    unsafe(uninit) static PROGRAMS: Mutex<Programs> = Programs::new();
}

/// A program's address.
struct Entry(*const Program);

// SAFETY: A program is `Sync`, and its entry is removed before the program is dropped.
unsafe impl Send for Entry {}

struct Programs {
    /// Sorted from oldest to newest.
    all: KVVec<Entry>,
    /// Indexed by CPU number: whether the CPU is to have instances. True if the CPU is online,
    /// comes online, goes offline, or is offline during a suspend.
    cpus: KVec<bool>,
}

impl Programs {
    const fn new() -> Self {
        Programs {
            all: KVVec::new(),
            cpus: KVec::new(),
        }
    }

    /// The programs. With the list locked, [`Program::equip`] and [`Program::strip`] may be called
    /// on them for a CPU that does not run.
    fn iter(&self) -> impl Iterator<Item = &Program> {
        // SAFETY: A program is removed from the list, with the lock held, before it is dropped.
        self.all.iter().map(|entry| unsafe { &*entry.0 })
    }

    /// Makes an instance of each program for `cpu`, as far as memory permits.
    ///
    /// # Safety
    ///
    /// The CPU does not run.
    unsafe fn prepare(&mut self, cpu: usize) -> Result {
        let mut missing = 0;
        for program in self.iter() {
            // SAFETY: The CPU does not run, and we hold the list's lock.
            match unsafe { equip(program, cpu) } {
                Ok(()) => {}
                // A killed task gets no more memory: whatever failed, it failed for that.
                Err(_) if current!().is_killed() => return Err(EINTR),
                Err(refusal) => {
                    if missing == 0 {
                        pr_warn!(
                            "CPU {} has no instance of '{}' (errno {})\n",
                            cpu,
                            program.name(),
                            -refusal.error.to_errno()
                        );
                    }
                    missing += 1;
                }
            }
        }
        if missing > 0 {
            pr_warn!(
                "CPU {} has no instance of {} of {} programs; their trap policies decide there. \
                 Replace them, or take the CPU offline and online again\n",
                cpu,
                missing,
                self.all.len()
            );
        }
        if let Some(has_instances) = self.cpus.get_mut(cpu) {
            *has_instances = true;
        }
        Ok(())
    }

    /// Frees the instances of `cpu`.
    ///
    /// # Safety
    ///
    /// The CPU does not run.
    unsafe fn forget(&mut self, cpu: usize) {
        if let Some(has_instances) = self.cpus.get_mut(cpu) {
            *has_instances = false;
        }
        for program in self.iter() {
            // SAFETY: The CPU does not run, and we hold the list's lock.
            unsafe { program.strip(cpu) };
        }
    }
}

/// A program that is on the list: it has an instance for each CPU that is online, and gets one for
/// each CPU that comes online.
///
/// # Invariants
///
/// The program is on the list, and does not move.
pub(crate) struct ListedProgram(Pin<KBox<Program>>);

impl ListedProgram {
    /// Builds an admitted Wasm module, on behalf of the calling task.
    pub(crate) fn new(
        wasm: KVVec<u8>,
        admission: Admission,
        settings: Settings,
        logger: &Logger,
    ) -> Answer<Self> {
        let owner = &Owner::current();
        let requester = &Requester::of_command(owner);
        let program = Program::new(wasm, admission, settings, logger, requester)?;
        // SAFETY: It was just made: no other code knows it, and it is not on the list.
        unsafe { enlist(program.as_ref(), logger, requester)? };
        // INVARIANT: It is on the list now, and pinned.
        Ok(Self(program))
    }
}

// SAFETY: The program stays on the list, and in its box, which is pinned and not borrowed mutably.
unsafe impl IntoRaw for ListedProgram {
    fn into_raw(self) -> *mut Program {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is neither dropped nor used again, so the box has one owner. The program
        // is not moved out of the box: `from_raw` pins it again.
        KBox::into_raw(unsafe { Pin::into_inner_unchecked(ptr::read(&this.0)) })
    }

    unsafe fn from_raw(program: *mut Program) -> Self {
        // INVARIANT: It was on the list when it became a pointer, and only a drop removes it.
        // SAFETY: By the contract we own this box, and the program has not moved since it was
        // pinned.
        Self(unsafe { Pin::new_unchecked(KBox::from_raw(program)) })
    }
}

impl Deref for ListedProgram {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.0
    }
}

impl Drop for ListedProgram {
    fn drop(&mut self) {
        delist(&self.0);
    }
}

/// Makes an instance for a CPU that comes online, unless one was kept during a suspend.
///
/// # Safety
///
/// The CPU does not run, and the caller holds the list's lock.
unsafe fn equip(program: &Program, cpu: usize) -> Answer {
    // SAFETY: By the contract the CPU does not run, and the caller holds the list's lock.
    if unsafe { program.is_equipped(cpu) } {
        return Ok(());
    }
    // The filter, with its own logger, may be freed by now. A new rate limit also bounds the log
    // lines of one bring-up.
    let logger = KBox::pin_init(Logger::new(*program.speaker()), GFP_KERNEL)?;
    let requester = Requester::of_bring_up(cpu);
    // SAFETY: By the contract the CPU does not run, and the caller holds the list's lock.
    unsafe { program.equip(cpu, &logger, &requester) }
}

/// Makes the instances of a new program, for `requester`, and adds the program to the list. On
/// failure the program is not on the list, and may be dropped.
///
/// # Safety
///
/// No other code uses the program, which is not on the list yet.
unsafe fn enlist(program: Pin<&Program>, logger: &Logger, requester: &Requester<'_>) -> Answer {
    let program = program.get_ref();
    loop {
        // Do not copy with the lock held: a bring-up would have to wait.
        let missing = {
            let mut programs = PROGRAMS.lock();
            let missing = (0..programs.cpus.len()).find(|&cpu| {
                // SAFETY: By the contract no other code uses the program, and no packet reaches it.
                programs.cpus[cpu] && !unsafe { program.is_equipped(cpu) }
            });
            if missing.is_none() {
                programs.all.push(Entry(program), GFP_KERNEL)?;
                for cpu in (0..programs.cpus.len()).filter(|&cpu| !programs.cpus[cpu]) {
                    // SAFETY: No packet has reached the program, and we hold the list's lock.
                    unsafe { program.strip(cpu) };
                }
            }
            missing
        };
        let Some(cpu) = missing else {
            return Ok(());
        };
        requester.move_to(cpu);
        // SAFETY: By the contract no other code uses the program. It is not published, so no packet
        // reaches it.
        unsafe { program.equip(cpu, logger, requester)? };
    }
}

fn delist(program: &Program) {
    PROGRAMS.lock().all.retain(|it| !ptr::eq(it.0, program));
}

/// Makes instances for CPUs that come online, and frees those of dead CPUs.
struct Cpus;

impl CpuEvents for Cpus {
    unsafe fn prepare(cpu: usize) -> Result {
        let mut programs = PROGRAMS.lock();
        // SAFETY: By the contract the CPU does not run, or this is called from `Registration::new`,
        // when there is no program.
        unsafe { programs.prepare(cpu) }.inspect_err(|_| {
            // SAFETY: As above.
            unsafe { programs.forget(cpu) };
        })
    }

    unsafe fn is_dead(cpu: usize, is_suspend: bool) {
        // A CPU that is offline for a suspend keeps its instances, with the state in their
        // memories. So a resume, during which memory is scarce, copies none.
        if !is_suspend {
            // SAFETY: By the contract the CPU does not run.
            unsafe { PROGRAMS.lock().forget(cpu) };
        }
    }
}

/// Keeps the list's set of CPUs up to date. Outlives all programs.
pub(crate) struct Registration {
    /// Dropped before the list is cleared.
    cpus: Option<HotplugRegistration<Cpus>>,
}

impl Registration {
    /// # Safety
    ///
    /// Called once, before there is a program.
    pub(crate) unsafe fn new() -> Result<Self> {
        // SAFETY: By the contract this is called once, and there is no program: no code has used
        // the lock.
        unsafe { PROGRAMS.init() };
        let cpus = KVec::from_elem(false, nr_cpu_ids() as usize, GFP_KERNEL)?;
        PROGRAMS.lock().cpus = cpus;
        let mut registration = Registration { cpus: None };
        // SAFETY: By the contract there is no program.
        registration.cpus = Some(unsafe { HotplugRegistration::new()? });
        Ok(registration)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.cpus = None;
        // Statics are not dropped.
        *PROGRAMS.lock() = Programs::new();
    }
}
