// SPDX-License-Identifier: GPL-2.0-only
//! Makes generated ioctls from several threads, in private and shared namespaces, with memory that
//! is unmapped and mapped meanwhile.
//!
//! A thread makes half of its requests in its private namespace, from memory that no other thread
//! changes. If such a request is refused, the namespace must be unchanged.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nf_wasm_generate::random::Random;
use nf_wasm_generate::{program, Unstructured};
use nf_wasm_shared::abi::ioctl;
use nix::errno::Errno;

use super::grammar::{Writer, PAGES};
use super::{Campaign, Report};
use crate::device::Device;
use crate::net::{Namespace, Net};
use crate::sys::{self, Area};
use crate::{kernel, wasm};

/// The number of threads. Each has its own namespace.
const THREADS: usize = 4;
/// When a namespace has so many filters, all are unloaded, so that it does not stay at the limit
/// for long.
const MAX_FILTERS: usize = 12;
/// The errnos that the interface's documentation allows.
const ERRNOS: [Errno; 18] = [
    Errno::ENOTTY,
    Errno::E2BIG,
    Errno::EINVAL,
    Errno::EOPNOTSUPP,
    Errno::EPERM,
    Errno::EFAULT,
    Errno::ENOMEM,
    Errno::ENOENT,
    Errno::EEXIST,
    Errno::ENOEXEC,
    Errno::EACCES,
    Errno::EFBIG,
    Errno::ENODEV,
    Errno::ENOSPC,
    Errno::EMSGSIZE,
    // A malformed signature, or none.
    Errno::EBADMSG,
    Errno::EKEYREJECTED,
    // A signal ended the wait.
    Errno::EINTR,
];

/// Runs the campaign. `from` and `runs` count the requests of each thread.
///
/// # Panics
///
/// If a test helper fails.
pub fn run(campaign: Campaign) -> Report {
    let nets = [Net::pair(), Net::pair(), Net::pair()];
    let own = [
        &nets[0].client,
        &nets[0].server,
        &nets[1].client,
        &nets[1].server,
    ];
    let shared = [&nets[2].client, &nets[2].server];
    let with = kernel::With::parameters(&["guest_test=1"]);
    let device = Device::open();
    let racing = Area::new(PAGES).expect("memory");
    let memory = File::options()
        .write(true)
        .read(true)
        .open("/proc/self/mem")
        .expect("/proc/self/mem");
    let modules = modules(campaign.seed);
    let over = AtomicBool::new(false);
    let mut report = Report::default();
    thread::scope(|scope| {
        scope.spawn(|| race(campaign.seed, &racing, &memory, &modules, &over));
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let asker = Asker {
                    campaign,
                    number,
                    device: &device,
                    own: own[number],
                    shared,
                    racing: &racing,
                    area: Area::new(PAGES).expect("memory"),
                    memory: &memory,
                    modules: &modules,
                };
                scope.spawn(move || asker.run())
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(part) => report.add(part),
                Err(_) => report.findings.push("a thread panicked".to_owned()),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    for namespace in own.into_iter().chain(shared) {
        namespace.enter(|| empty(&device, &mut report));
    }
    let allocations = device.info().expect("info").packet_path_allocations;
    if allocations != 0 {
        report.findings.push(format!("{allocations} allocations"));
    }
    drop(device);
    drop(nets);
    drop(with);
    report
}

/// Wasm modules. Some do not load.
fn modules(seed: u64) -> Vec<Vec<u8>> {
    let mut modules = vec![wasm::always(1), wasm::always(0), b"\0asm".to_vec()];
    for index in 0..12 {
        let bytes = Random::new(seed, index).bytes(3_000);
        modules.extend(program::program(&mut Unstructured::new(&bytes), true));
    }
    modules.retain(|module| module.len() < 3 * Area::PAGE);
    modules
}

/// Unmaps, maps and writes memory while other threads pass it to the kernel.
fn race(seed: u64, area: &Area, memory: &File, modules: &[Vec<u8>], over: &AtomicBool) {
    let mut random = Random::new(seed, u64::MAX);
    while !over.load(Ordering::Relaxed) {
        let page = random.below(PAGES as u64) as usize;
        let at = area.address() + random.below(area.len() as u64 - 20_000);
        match random.below(6) {
            0 => drop(area.protect(page, false, false)),
            1 => drop(area.protect(page, true, false)),
            2 | 3 => drop(area.protect(page, true, true)),
            4 => drop(area.forget(page)),
            // An unmapped page cannot be written: an error is ignored.
            _ => {
                let module = &modules[random.below(modules.len() as u64) as usize];
                let _ = memory.write_all_at(module, at);
                let _ = memory.write_all_at(&random.next().to_ne_bytes(), at);
            }
        }
        thread::yield_now();
    }
    for page in 0..PAGES {
        let _ = area.protect(page, true, true);
    }
}

/// Unloads all filters of the calling thread's namespace.
fn empty(device: &Device, report: &mut Report) {
    for filter in device.filters().expect("list") {
        if let Err(refused) = device.select(ioctl::NF_WASM_UNLOAD, filter.id) {
            if refused.errno != Errno::ENOENT {
                report.findings.push(format!("unload: {refused}"));
            }
        }
    }
}

struct Asker<'a> {
    campaign: Campaign,
    number: usize,
    device: &'a Device,
    own: &'a Namespace,
    shared: [&'a Namespace; 2],
    racing: &'a Area,
    area: Area,
    memory: &'a File,
    modules: &'a [Vec<u8>],
}

impl Asker<'_> {
    fn run(self) -> Report {
        let mut report = Report::default();
        // Entering a namespace is slow, so the thread stays for a number of requests.
        const STAY: u64 = 32;
        let mut alone = true;
        for case in self.campaign.cases() {
            report.next = case + 1;
            let seed = self.campaign.seed.wrapping_add(self.number as u64);
            let mut random = Random::new(seed, case);
            if case % STAY == 0 || case == self.campaign.from {
                alone = case / STAY % 2 == 0;
                let namespace = match alone {
                    true => self.own,
                    false => self.shared[random.below(2) as usize],
                };
                namespace.join();
                for page in 0..PAGES {
                    let _ = self.area.protect(page, true, true);
                }
            }
            if let Err(what) = self.ask(&mut random, alone, &mut report) {
                report.findings.push(format!(
                    "ioctl --seed {}, thread {}, case {case}: {what}",
                    self.campaign.seed, self.number
                ));
            }
        }
        report
    }

    fn ask(&self, random: &mut Random, alone: bool, report: &mut Report) -> Result<(), String> {
        let area = if alone || random.below(2) == 0 {
            &self.area
        } else {
            self.racing
        };
        self.disturb(random);
        let filters = self.device.filters().map_err(|error| error.to_string())?;
        if filters.len() > MAX_FILTERS {
            empty(self.device, report);
            return Ok(());
        }
        let attachments = self.device.attachments().map_err(|it| it.to_string())?;
        let plan = Writer {
            honest: random.below(3) == 0,
            random: random.clone(),
            area,
            memory: self.memory,
            modules: self.modules,
            filters: &filters,
            attachments: &attachments,
        }
        .plan();
        let answer = sys::ioctl_at(self.device.file().as_fd(), plan.command, plan.address);
        let outcome = match answer {
            Ok(()) => "done".to_owned(),
            Err(errno) => format!("{errno:?}"),
        };
        report.count(&format!("{} {outcome}", plan.name));
        let Err(errno) = answer else {
            return Ok(());
        };
        if !ERRNOS.contains(&errno) {
            return Err(format!("{} gave {errno:?}", plan.name));
        }
        if !alone {
            return Ok(());
        }
        let same = self.device.filters().as_ref() == Ok(&filters)
            && self.device.attachments().as_ref() == Ok(&attachments);
        match same {
            true => Ok(()),
            false => Err(format!("{} gave {errno:?} and changed tables", plan.name)),
        }
    }

    /// Other actions that change the state meanwhile.
    fn disturb(&self, random: &mut Random) {
        match random.below(200) {
            0 => drop(self.device.file().try_clone()),
            1 => drop(Command::new("true").status()),
            2 => drop(Device::open()),
            3..=9 => {
                let page = random.below(PAGES as u64) as usize;
                let _ = self.area.protect(page, random.below(4) != 0, false);
            }
            10..=40 => {
                let page = random.below(PAGES as u64) as usize;
                let _ = self.area.protect(page, true, true);
            }
            _ => {}
        }
    }
}
