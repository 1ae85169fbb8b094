// SPDX-License-Identifier: GPL-2.0-only
//! Requests that know the grammar and lie within it: from several threads, in namespaces of their
//! own and in shared ones, with addresses that lead to memory that comes and goes.
//!
//! Half of a thread's requests are made in a namespace that it has alone, from memory that nobody
//! else touches: one that is refused must have changed nothing there.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nf_wasm_abi::ioctl::{
    self, Attach, AttachmentEntry, Detach, FilterEntry, Hook, Info, List, Load, Log, Replace, Run,
    Select, DEVICE_LEN, FAMILY_INET, FAMILY_IPV4, FAMILY_IPV6, FAMILY_NETDEV, NAME_LEN,
};
use nf_wasm_abi::limits;
use nf_wasm_decode::plain::{Plain, Request};
use nf_wasm_generate::random::Random;
use nf_wasm_generate::{program, Unstructured};
use nix::errno::Errno;

use super::{Campaign, Report};
use crate::device::Device;
use crate::net::{Namespace, Net};
use crate::sys::{self, Area};
use crate::{kernel, wasm};

/// Threads that ask, each with a namespace of its own.
const THREADS: usize = 4;
/// Filters in a namespace before they are unloaded: room for all comes to an end.
const MOST_FILTERS: usize = 12;
/// Pages of an area.
const PAGES: usize = 32;
/// What a refusal may be, by the interface's documentation.
const ERRNOS: [Errno; 16] = [
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
    // A thread that is being ended.
    Errno::EINTR,
];

/// Addresses where nothing of this process is: low, just below and above what a process may have,
/// the kernel's, the highest.
const NOWHERE: [u64; 8] = [
    0,
    8,
    0x7fff_ffff_f000,
    0x8000_0000_0000,
    0xffff_8000_0000_0000,
    0xffff_ffff_8100_0000,
    u64::MAX - 4000,
    u64::MAX,
];

/// Runs the campaign; `from` and `runs` count what each thread does.
///
/// # Panics
///
/// If the machine is not what tests need.
pub fn run(campaign: Campaign) -> Report {
    let nets = [Net::pair(), Net::pair(), Net::pair()];
    let own = [
        &nets[0].client,
        &nets[0].server,
        &nets[1].client,
        &nets[1].server,
    ];
    let shared = [&nets[2].client, &nets[2].server];
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
    kernel::remove();
    kernel::insert();
    report
}

/// Modules that load, and some that do not.
fn modules(seed: u64) -> Vec<Vec<u8>> {
    let mut modules = vec![wasm::always(1), wasm::always(0), b"\0asm".to_vec()];
    for index in 0..12 {
        let bytes = Random::new(seed, index).bytes(3_000);
        modules.extend(program::program(&mut Unstructured::new(&bytes), true));
    }
    modules.retain(|module| module.len() < 3 * Area::PAGE);
    modules
}

/// Takes memory away and gives it back, and writes to it, while others are in the kernel with it.
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
            // What is not there cannot be written: then it is not.
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

/// Unloads all filters where the calling thread is.
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

/// A request to be made.
struct Plan {
    command: u32,
    bytes: Vec<u8>,
    name: &'static str,
}

impl Asker<'_> {
    fn run(self) -> Report {
        let mut report = Report::default();
        // Entering a namespace takes a while: it is left after a number of requests.
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
        if filters.len() > MOST_FILTERS {
            empty(self.device, report);
            return Ok(());
        }
        let attachments = self.device.attachments().map_err(|it| it.to_string())?;
        let plan = self.plan(random, area, &filters, &attachments);
        let place = self.place(random, area, &plan.bytes);
        let answer = sys::ioctl_at(self.device.file().as_fd(), plan.command, place);
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

    /// Things that go on beside.
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

    /// Puts the request somewhere; returns where.
    fn place(&self, random: &mut Random, area: &Area, bytes: &[u8]) -> u64 {
        let address = match random.below(16) {
            0 => return random.choose(&NOWHERE),
            // Its end in the next page, or behind the area.
            1 => area.address() + Area::PAGE as u64 - random.below(64),
            2 => area.address() + area.len() as u64 - random.below(300),
            _ => area.address() + 8 * random.below(64),
        };
        let _ = self.memory.write_all_at(bytes, address);
        address
    }

    /// An address where `bytes` are, mostly.
    fn pointer(&self, random: &mut Random, area: &Area, bytes: &[u8]) -> u64 {
        let page = (2 + random.below(PAGES as u64 - 12)) * Area::PAGE as u64;
        let address = match random.below(12) {
            0 => return random.choose(&NOWHERE),
            1 => area.address() + area.len() as u64 - random.below(bytes.len() as u64 + 2),
            _ => area.address() + page + random.below(100),
        };
        let _ = self.memory.write_all_at(bytes, address);
        address
    }

    fn log(&self, random: &mut Random, area: &Area) -> Log {
        Log {
            buf: self.pointer(random, area, &[]),
            len: random.choose(&[0, 1, 100, 1024, 5000, u32::MAX]),
            used: random.next() as u32,
        }
    }

    /// One command, its struct mostly right.
    fn plan(
        &self,
        random: &mut Random,
        area: &Area,
        filters: &[FilterEntry],
        attachments: &[AttachmentEntry],
    ) -> Plan {
        let id = match random.below(4) {
            0 => random.choose(&[0, 1, 2, 1000, u32::MAX]),
            _ => match filters.len() as u64 {
                0 => 0,
                count => filters[random.below(count) as usize].id,
            },
        };
        let name = name(random);
        let log = self.log(random, area);
        let module = &self.modules[random.below(self.modules.len() as u64) as usize];
        let module_at = self.pointer(random, area, module);
        let module_len = match random.below(8) {
            0 => random.choose(&[
                0,
                1,
                8,
                limits::MODULE_BYTES,
                limits::MODULE_BYTES + 1,
                u32::MAX,
            ]),
            _ => module.len() as u32,
        };
        let (capabilities, fuel) = match random.below(4) {
            0 => (
                random.next() & 31,
                random.choose(&[1, limits::MAX_FUEL, limits::MAX_FUEL + 1, u64::MAX]),
            ),
            _ => (15, 0),
        };
        let snaplen = random.choose(&[0, 0, 0, 1, 65_535, 65_536, u32::MAX]);
        match random.below(20) {
            0..=5 => {
                let hooks: Vec<u8> = (0..random.below(4))
                    .flat_map(|_| hook(random).as_bytes().to_vec())
                    .collect();
                let count = hooks.len() / size_of::<Hook>();
                let load = Load {
                    name,
                    module: module_at,
                    module_len,
                    trap_policy: random.choose(&[0, 1, 1, 2]),
                    capabilities,
                    fuel,
                    snaplen,
                    quarantine: random.choose(&[0, 1, u32::MAX]),
                    hooks: self.pointer(random, area, &hooks),
                    hook_count: random.choose(&[count as u32, count as u32, 0, 512, 513, u32::MAX]),
                    hook_size: random.choose(&[32, 32, 32, 40, 31, 4096, u32::MAX]),
                    log,
                    ..Load::new()
                };
                plan(random, "LOAD", ioctl::NF_WASM_LOAD, load)
            }
            6 | 7 => {
                let replace = Replace {
                    id,
                    name,
                    set: random.choose(&[0, 0, 1, 31, 32, u32::MAX]),
                    module: module_at,
                    module_len,
                    capabilities,
                    fuel,
                    snaplen,
                    log,
                    ..Replace::new()
                };
                plan(random, "REPLACE", ioctl::NF_WASM_REPLACE, replace)
            }
            8 => {
                let select = Select {
                    id,
                    name,
                    log,
                    ..Select::new()
                };
                plan(random, "UNLOAD", ioctl::NF_WASM_UNLOAD, select)
            }
            9 => {
                let select = Select {
                    id,
                    name,
                    log,
                    ..Select::new()
                };
                plan(random, "RELEASE", ioctl::NF_WASM_RELEASE, select)
            }
            10..=12 => {
                let hook = hook(random);
                let attach = Attach {
                    id,
                    name,
                    hook,
                    log,
                    ..Attach::new()
                };
                plan(random, "ATTACH", ioctl::NF_WASM_ATTACH, attach)
            }
            13 => {
                let attachment = match attachments.len() as u64 {
                    0 => random.next() as u32,
                    count => attachments[random.below(count) as usize].id,
                };
                let detach = Detach {
                    attachment,
                    log,
                    ..Detach::new()
                };
                plan(random, "DETACH", ioctl::NF_WASM_DETACH, detach)
            }
            14 => plan(random, "INFO", ioctl::NF_WASM_INFO, Info::new()),
            15 | 16 => {
                let command =
                    random.choose(&[ioctl::NF_WASM_LIST_FILTERS, ioctl::NF_WASM_LIST_ATTACHMENTS]);
                let list = List {
                    entries: self.pointer(random, area, &[]),
                    entry_size: random.choose(&[0, 1, 4, 200, 336, 400, 4096, 4097, u32::MAX]),
                    capacity: random.choose(&[0, 1, 5, 100, u32::MAX]),
                    ..List::new::<FilterEntry>()
                };
                plan(random, "LIST", command, list)
            }
            _ => {
                let packet = random.bytes(200);
                let by_name = random.below(2) == 0;
                let run = Run {
                    id: if by_name { id } else { 0 },
                    name: if by_name { name } else { [0; NAME_LEN] },
                    module: if by_name && random.below(8) != 0 {
                        0
                    } else {
                        module_at
                    },
                    module_len,
                    capabilities,
                    fuel,
                    snaplen,
                    packet: self.pointer(random, area, &packet),
                    packet_len: random.choose(&[0, 1, 20, 200, 65_535, 65_536, u32::MAX]),
                    family: random.choose(&[2, 5, 10, 10, 1, u32::MAX]),
                    hook: random.choose(&[0, 1, 4, 255, 256]),
                    output: self.log(random, area),
                    log,
                    ..Run::new()
                };
                plan(random, "RUN", ioctl::NF_WASM_RUN, run)
            }
        }
    }
}

/// The request's bytes, with a size that may lie, and perhaps a byte of it wrong.
fn plan<T: Request>(random: &mut Random, name: &'static str, command: u32, mut request: T) -> Plan {
    let ours = size_of::<T>() as u32;
    let size = match random.below(16) {
        0 => random.choose(&[0, 1, 4, ours - 1, ours - 4, 4096, 4097, u32::MAX]),
        1 => ours + random.below(200) as u32,
        _ => ours,
    };
    request.as_bytes_mut()[..4].copy_from_slice(&size.to_ne_bytes());
    let mut bytes = request.as_bytes().to_vec();
    bytes.resize(4096, 0);
    if random.below(12) == 0 {
        let at = 4 + random.below(u64::from(ours)) as usize;
        bytes[at] ^= 1 << random.below(8);
    }
    // A command that there is not.
    let command = match random.below(64) {
        0 => command ^ (1 << random.below(32)),
        _ => command,
    };
    Plan {
        command,
        bytes,
        name,
    }
}

fn name(random: &mut Random) -> [u8; NAME_LEN] {
    let mut name = [0; NAME_LEN];
    let len = 1 + random.below(2) as usize;
    for byte in &mut name[..len] {
        *byte = random.choose(b"abcdefgh");
    }
    match random.below(16) {
        0 => name[0] = random.choose(b"\0 .-9\xff"),
        1 => name[63] = b'x',
        2 => name[..63].fill(b'y'),
        _ => {}
    }
    name
}

fn hook(random: &mut Random) -> Hook {
    let mut hook = Hook {
        family: random.choose(&[
            FAMILY_INET,
            FAMILY_IPV4,
            FAMILY_IPV6,
            FAMILY_NETDEV,
            FAMILY_NETDEV,
        ]),
        hook: random.below(5) as u32,
        priority: random.choose(&[0, 0, 1, -1, i32::MIN, i32::MAX]),
        reserved: u32::from(random.below(16) == 0),
        device: [0; DEVICE_LEN],
    };
    if hook.family == FAMILY_NETDEV || random.below(16) == 0 {
        let name: &[u8] = random.choose(&[&b"lo"[..], b"to-client", b"to-server", b"nowhere", b""]);
        hook.device[..name.len()].copy_from_slice(name);
        hook.hook = random.below(3) as u32;
    }
    hook
}
