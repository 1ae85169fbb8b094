// SPDX-License-Identifier: GPL-2.0-only
//! Generates ioctl arguments that are mostly valid.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nf_wasm_generate::random::Random;
use nf_wasm_shared::abi::guest_test::{GuestTest, GUEST_TEST_NAME_LEN};
use nf_wasm_shared::abi::ioctl::{
    self, Attach, AttachmentEntry, Detach, FilterEntry, Hook, Info, List, Load, Log, Replace, Run,
    Select, DEVICE_LEN, FAMILY_INET, FAMILY_IPV4, FAMILY_IPV6, FAMILY_NETDEV, NAME_LEN,
    TRAP_RELOAD,
};
use nf_wasm_shared::abi::limits;
use nf_wasm_shared::decode::plain::{Plain, Request};

use crate::sys::Area;

/// Pages of an area.
pub const PAGES: usize = 32;

/// Addresses at which this process has no memory: low, just below and above the largest user
/// address, the kernel's, the largest.
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
const SIGNATURE: [u8; 40] = [0x30; 40];

/// The place of each part of a valid request in an area. Parts do not overlap.
#[derive(Clone, Copy)]
enum Slot {
    Request,
    Module,
    Hooks,
    Log,
    Packet,
    Table,
    Signature,
}

impl Slot {
    fn offset(self) -> u64 {
        4 * Area::PAGE as u64 * self as u64
    }
}

/// A request in memory.
pub struct Plan {
    /// The command's number.
    pub command: u32,
    /// The command's name.
    pub name: &'static str,
    /// The struct's address.
    pub address: u64,
}

/// Makes requests.
pub struct Writer<'a> {
    /// The source of all random choices.
    pub random: Random,
    /// Whether the request is valid. Other threads may still change it.
    pub honest: bool,
    /// The memory for the request.
    pub area: &'a Area,
    /// /proc/self/mem: writes ignore the protection of pages.
    pub memory: &'a File,
    /// Wasm modules. Some do not load.
    pub modules: &'a [Vec<u8>],
    /// The namespace's filters.
    pub filters: &'a [FilterEntry],
    /// The namespace's attachments.
    pub attachments: &'a [AttachmentEntry],
}

impl Writer<'_> {
    /// Makes a request and puts it into memory.
    pub fn plan(&mut self) -> Plan {
        match self.random.below(22) {
            0..=5 => self.load(),
            6 | 7 => self.replace(),
            8 => self.select("UNLOAD", ioctl::NF_WASM_UNLOAD),
            9 => self.select("RELEASE", ioctl::NF_WASM_RELEASE),
            10..=12 => self.attach(),
            13 => self.detach(),
            14 => self.put("INFO", ioctl::NF_WASM_INFO, Info::new()),
            15 | 16 => self.list(),
            17..=19 => self.run(),
            _ => self.guest_test(),
        }
    }

    fn load(&mut self) -> Plan {
        let hooks: Vec<u8> = (0..self.random.below(4))
            .flat_map(|_| self.hook().as_bytes().to_vec())
            .collect();
        let count = (hooks.len() / size_of::<Hook>()) as u32;
        let (module, module_len) = self.module();
        let (signature, signature_len) = self.signature();
        let load = Load {
            name: self.name(),
            flags: self.mostly(0, &[1, 1 << 31]),
            module,
            module_len,
            trap_policy: self.mostly(1, &[0, 2, TRAP_RELOAD, u32::MAX]),
            capabilities: self.capabilities(),
            fuel: self.fuel(),
            snaplen: self.snaplen(),
            quarantine: self.mostly(0, &[1, u32::MAX]),
            hooks: self.pointer(Slot::Hooks, &hooks),
            hook_count: self.mostly(count, &[0, 512, 513, u32::MAX]),
            hook_size: self.mostly(size_of::<Hook>() as u32, &[40, 31, 4096, u32::MAX]),
            recycle: self.mostly(0, &[1, u32::MAX]),
            log: self.log(),
            signature,
            signature_len,
            ..Load::new()
        };
        self.put("LOAD", ioctl::NF_WASM_LOAD, load)
    }

    fn replace(&mut self) -> Plan {
        let (module, module_len) = self.module();
        let (signature, signature_len) = self.signature();
        let replace = Replace {
            id: self.id(),
            name: self.name(),
            flags: self.mostly(0, &[1]),
            set: self.mostly(0, &[1, 63, 64, 128, u32::MAX]),
            module,
            module_len,
            trap_policy: self.mostly(0, &[1, 2, TRAP_RELOAD]),
            recycle: self.mostly(0, &[1]),
            reserved: self.mostly(0, &[1]),
            capabilities: self.capabilities(),
            fuel: self.fuel(),
            snaplen: self.snaplen(),
            log: self.log(),
            signature,
            signature_len,
            ..Replace::new()
        };
        self.put("REPLACE", ioctl::NF_WASM_REPLACE, replace)
    }

    fn select(&mut self, name: &'static str, command: u32) -> Plan {
        let select = Select {
            id: self.id(),
            name: self.name(),
            flags: self.mostly(0, &[1]),
            reserved: self.mostly(0, &[1]),
            log: self.log(),
            ..Select::new()
        };
        self.put(name, command, select)
    }

    fn attach(&mut self) -> Plan {
        let attach = Attach {
            id: self.id(),
            name: self.name(),
            flags: self.mostly(0, &[1]),
            hook: self.hook(),
            log: self.log(),
            ..Attach::new()
        };
        self.put("ATTACH", ioctl::NF_WASM_ATTACH, attach)
    }

    fn detach(&mut self) -> Plan {
        let attachment = match self.attachments.len() as u64 {
            0 => self.random.next() as u32,
            count => self.attachments[self.random.below(count) as usize].id,
        };
        let detach = Detach {
            attachment: self.mostly(attachment, &[0, u32::MAX]),
            flags: self.mostly(0, &[1]),
            reserved: self.mostly(0, &[1]),
            log: self.log(),
            ..Detach::new()
        };
        self.put("DETACH", ioctl::NF_WASM_DETACH, detach)
    }

    fn list(&mut self) -> Plan {
        let (command, size) = self.random.choose(&[
            (ioctl::NF_WASM_LIST_FILTERS, size_of::<FilterEntry>()),
            (
                ioctl::NF_WASM_LIST_ATTACHMENTS,
                size_of::<AttachmentEntry>(),
            ),
        ]);
        let list = List {
            entries: self.pointer(Slot::Table, &[]),
            entry_size: self.mostly(size as u32, &[0, 1, 4, 200, 800, 4096, 4097, u32::MAX]),
            capacity: self.mostly(5, &[0, 1, 100, u32::MAX]),
            flags: self.mostly(0, &[1]),
            reserved: self.mostly(0, &[1]),
            ..List::new::<FilterEntry>()
        };
        self.put("LIST", command, list)
    }

    fn run(&mut self) -> Plan {
        let packet = self.random.bytes(200);
        let known = self.random.below(2) == 0;
        let (module, module_len) = self.module();
        let (signature, signature_len) = self.signature();
        let run = Run {
            id: if known { self.id() } else { 0 },
            name: if known { self.name() } else { [0; NAME_LEN] },
            module: match known {
                true => self.mostly(0, &[module]),
                false => module,
            },
            module_len,
            capabilities: self.capabilities(),
            fuel: self.fuel(),
            snaplen: self.snaplen(),
            packet: self.pointer(Slot::Packet, &packet),
            packet_len: self.mostly(200, &[0, 1, 20, 65_535, 65_536, u32::MAX]),
            family: self.mostly(FAMILY_IPV6, &[2, 5, 1, u32::MAX]),
            hook: self.mostly(0, &[1, 4, 255, 256]),
            flags: self.mostly(0, &[1]),
            reserved: self.mostly(0, &[1]),
            output: self.log(),
            log: self.log(),
            signature,
            signature_len,
            ..Run::new()
        };
        self.put("RUN", ioctl::NF_WASM_RUN, run)
    }

    fn guest_test(&mut self) -> Plan {
        let export =
            self.random
                .choose(&[&b"nfw_filter"[..], b"memory", b"nfw_init", b"", b"\xff"]);
        let mut name = [0; GUEST_TEST_NAME_LEN];
        name[..export.len()].copy_from_slice(export);
        let (module, module_len) = self.module();
        let mut values = [0; ioctl::GUEST_TEST_VALUES];
        values.fill_with(|| self.random.next());
        let test = GuestTest {
            operation: self.random.choose(&[0, 0, 1, 2, 2, 2, 3, 4, 5, 6]),
            instance: self.random.below(4) as u32,
            name,
            name_len: self.mostly(export.len() as u32, &[0, 256, 257, u32::MAX]),
            module,
            module_len,
            flags: self.mostly(0, &[1]),
            fuel: self.random.choose(&[0, 1, 1_000, u64::MAX]),
            values,
            value_count: self.mostly(3, &[0, 1, 32, 33, u32::MAX]),
            offset: self.random.choose(&[0, 1, 65_535, 65_536, u64::MAX]),
            data: self.pointer(Slot::Table, &[]),
            data_len: self.mostly(1, &[0, 100, 65_536, 65_537, u32::MAX]),
            log: self.log(),
            ..GuestTest::new()
        };
        self.put("GUEST_TEST", ioctl::NF_WASM_GUEST_TEST, test)
    }

    /// Puts a request into memory, perhaps with a wrong size, at a wrong address or with one wrong
    /// byte.
    fn put<T: Request>(&mut self, name: &'static str, command: u32, mut request: T) -> Plan {
        let ours = size_of::<T>() as u32;
        let longer = ours + self.random.below(200) as u32;
        let wrong = [0, 1, 4, ours - 1, ours - 4, longer, 4096, 4097, u32::MAX];
        let size = self.mostly(ours, &wrong);
        request.as_bytes_mut()[..4].copy_from_slice(&size.to_ne_bytes());
        let mut bytes = request.as_bytes().to_vec();
        bytes.resize(4096, 0);
        if self.once_in(12) {
            let at = 4 + self.random.below(u64::from(ours)) as usize;
            bytes[at] ^= 1 << self.random.below(8);
        }
        // A command number that does not exist.
        let bit = self.random.below(32);
        Plan {
            command: if self.once_in(64) {
                command ^ (1 << bit)
            } else {
                command
            },
            name,
            address: self.pointer(Slot::Request, &bytes),
        }
    }

    /// The address of `bytes`, mostly a valid one.
    fn pointer(&mut self, slot: Slot, bytes: &[u8]) -> u64 {
        let from = self.area.address();
        let end = from + self.area.len() as u64;
        let wrong = [
            self.random.choose(&NOWHERE),
            // An address that makes the bytes extend into the next page, beyond the area, or over
            // another part.
            from + slot.offset() + Area::PAGE as u64 - self.random.below(64),
            end - self.random.below(bytes.len() as u64 + 2),
            from + self.random.below(self.area.len() as u64 / 2),
        ];
        let right = from + slot.offset() + 8 * self.random.below(16);
        let address = self.mostly(right, &wrong);
        // An address without memory cannot be written: the error is ignored.
        let _ = self.memory.write_all_at(bytes, address);
        address
    }

    fn log(&mut self) -> Log {
        Log {
            buf: self.pointer(Slot::Log, &[]),
            len: self.random.choose(&[0, 1, 100, 1024, 5000, u32::MAX]),
            used: self.random.next() as u32,
        }
    }

    fn module(&mut self) -> (u64, u32) {
        let modules = self.modules;
        let module = &modules[self.random.below(modules.len() as u64) as usize];
        let address = self.pointer(Slot::Module, module);
        let wrong = [0, 1, 8, limits::MODULE_BYTES, limits::MODULE_BYTES + 1];
        (address, self.mostly(module.len() as u32, &wrong))
    }

    fn signature(&mut self) -> (u64, u32) {
        match self.once_in(12) {
            true => (
                self.pointer(Slot::Signature, &SIGNATURE),
                self.mostly(40, &[0, 1, 65_536, 65_537, u32::MAX]),
            ),
            false => (0, 0),
        }
    }

    fn id(&mut self) -> u32 {
        let id = match self.filters.len() as u64 {
            0 => 0,
            count => self.filters[self.random.below(count) as usize].id,
        };
        self.mostly(id, &[0, 1, 2, 1000, u32::MAX])
    }

    fn capabilities(&mut self) -> u64 {
        self.mostly(15, &[0, 1, 14, 16, 31, u64::MAX])
    }

    fn fuel(&mut self) -> u64 {
        self.mostly(0, &[1, limits::MAX_FUEL, limits::MAX_FUEL + 1, u64::MAX])
    }

    fn snaplen(&mut self) -> u32 {
        self.mostly(0, &[1, 65_535, 65_536, u32::MAX])
    }

    fn name(&mut self) -> [u8; NAME_LEN] {
        let mut name = [0; NAME_LEN];
        let len = 1 + self.random.below(2) as usize;
        for byte in &mut name[..len] {
            *byte = self.random.choose(b"abcdefgh");
        }
        if self.once_in(10) {
            match self.random.below(3) {
                0 => name[0] = self.random.choose(b"\0 .-9\xff"),
                1 => name[NAME_LEN - 1] = b'x',
                _ => name[..NAME_LEN - 1].fill(b'y'),
            }
        }
        name
    }

    fn hook(&mut self) -> Hook {
        let family = self.random.choose(&[
            FAMILY_INET,
            FAMILY_IPV4,
            FAMILY_IPV6,
            FAMILY_NETDEV,
            FAMILY_NETDEV,
        ]);
        let with_device = (family == FAMILY_NETDEV) != self.once_in(12);
        let mut device = [0; DEVICE_LEN];
        if with_device {
            // A namespace has only one of the middle two.
            let name: &[u8] =
                self.random
                    .choose(&[&b"lo"[..], b"to-client", b"to-server", b"nowhere"]);
            device[..name.len()].copy_from_slice(name);
        }
        let hooks = if family == FAMILY_NETDEV { 2 } else { 5 };
        let number = self.random.below(hooks) as u32;
        Hook {
            family: self.mostly(family, &[0, 3, u32::MAX]),
            hook: self.mostly(number, &[5, u32::MAX]),
            priority: self.random.choose(&[0, 0, 1, -1, i32::MIN, i32::MAX]),
            reserved: self.mostly(0, &[1]),
            device,
        }
    }

    /// Mostly `right`, sometimes one of `wrong`.
    fn mostly<T: Copy>(&mut self, right: T, wrong: &[T]) -> T {
        match self.once_in(20) {
            true => self.random.choose(wrong),
            false => right,
        }
    }

    /// True once in `many` calls, if the request need not be valid.
    fn once_in(&mut self, many: u64) -> bool {
        !self.honest && self.random.below(many) == 0
    }
}
