// SPDX-License-Identifier: GPL-2.0-only
//! Measures hostile guests, in instructions. The numbers are virtual nanoseconds. These are
//! instructions only if QEMU counts them:
//!
//! ```text
//! cargo xtask vm --accel tcg --cpus 1 --append mitigations=off \
//!     --qemu-arg -icount --qemu-arg shift=0,sleep=off -- nf-wasm-hostile ops
//! ```
//!
//! `ops [FILTER]` measures what a unit of fuel costs for each operator and host function, with the
//! default budget. `fuel FILTER` does the same with the maximum budget. `cases [FILTER]` measures
//! the load and the packets of each guest of the corpus. FILTER is a part of the names of what is
//! measured.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::{exit, Command};
use std::time::Instant;

use nf_wasm_hostile::{cases, ops};
use nf_wasm_shared::abi::capability::ALL_BITS;
use nf_wasm_shared::abi::ioctl::{
    FilterEntry, FAMILY_IPV4, HOOK_OUTPUT, NF_WASM_UNLOAD, QUARANTINE_NEVER, TRAP_DROP,
};
use nf_wasm_shared::abi::limits::{DEFAULT_FUEL, MAX_FUEL};
use nf_wasm_tests::device::{hook, Device, Refused, Spec};
use nf_wasm_tests::{kernel, wasm};
use nix::sys::socket::{setsockopt, sockopt};

/// Sends before the first measurement. Everything is slower in the first seconds after boot.
const SINCE_BOOT: u32 = 20_000;
/// Packets per figure. The minimum is used, because interrupts only add instructions.
const PACKETS: usize = 3;
/// Bytes of payload of an ordinary packet, and of a fragmented one.
const PAYLOAD: usize = 1000;
const PAYLOAD_IN_PIECES: usize = 65_000;
/// Bytes of a fragment with its IP header: the minimum MTU of IPv4.
const PIECE: &str = "68";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["ops"] => operations("", DEFAULT_FUEL),
        ["ops", filter] => operations(filter, DEFAULT_FUEL),
        ["fuel", filter] => operations(filter, MAX_FUEL),
        ["cases"] => corpus(""),
        ["cases", filter] => corpus(filter),
        _ => {
            eprintln!("nf-wasm-hostile ops [FILTER] | fuel FILTER | cases [FILTER]");
            exit(2);
        }
    }
}

/// A path for packets: out by loopback, to a socket that nobody reads.
struct Way {
    sender: UdpSocket,
    _receiver: UdpSocket,
    payload: Vec<u8>,
}

impl Way {
    fn new(payload: usize) -> Self {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        // A packet in fragments takes more than a megabyte.
        setsockopt(&sender, sockopt::SndBufForce, &(64 << 20)).expect("SO_SNDBUFFORCE");
        let to = receiver.local_addr().expect("an address");
        sender.connect(to).expect("connect");
        let way = Self {
            sender,
            _receiver: receiver,
            payload: vec![0x5a; payload],
        };
        way.send();
        way
    }

    /// Sends one packet. Returns its instructions.
    fn send(&self) -> u64 {
        let since = Instant::now();
        // A send fails if a filter drops the packet.
        let _ = self.sender.send(&self.payload);
        since.elapsed().as_nanos() as u64
    }

    /// Attaches `wasm` at the output hook and sends packets. Returns the instructions of the load,
    /// and the measurement.
    fn measure(&self, wasm: Vec<u8>, fuel: u64) -> (u64, Result<Measured, Refused>) {
        let device = Device::open();
        let spec = Spec::new("hostile", wasm)
            .allow(ALL_BITS)
            .fuel(fuel)
            .on_trap(TRAP_DROP)
            .quarantine(QUARANTINE_NEVER)
            .at(hook(FAMILY_IPV4, HOOK_OUTPUT, 0));
        let since = Instant::now();
        let loaded = device.load(&spec);
        let load = since.elapsed().as_nanos() as u64;
        let id = match loaded {
            Ok(id) => id,
            Err(refused) => return (load, Err(refused)),
        };
        self.send();
        let packet = (0..PACKETS).map(|_| self.send()).min().unwrap_or(0);
        let filters = device.filters().expect("list");
        let entry = filters.into_iter().find(|entry| entry.id == id);
        device.select(NF_WASM_UNLOAD, id).expect("unload");
        let entry = entry.expect("the filter is listed");
        (load, Ok(Measured { packet, entry }))
    }
}

struct Measured {
    /// Instructions of a packet, on its whole path.
    packet: u64,
    entry: FilterEntry,
}

fn operations(filter: &str, fuel: u64) {
    let way = Way::new(PAYLOAD);
    (0..SINCE_BOOT).for_each(|_| {
        way.send();
    });
    table(&way, fuel, |name| name.contains(filter));

    // The same loads on a packet in more than a thousand fragments.
    let loads = |name: &str| name.starts_with("nfw.packet load") && name.contains(filter);
    if ops::all().iter().any(|op| loads(&op.name)) {
        let status = Command::new("ip")
            .args(["link", "set", "lo", "mtu", PIECE])
            .status();
        assert!(status.expect("ip").success());
        println!("\npackets of {PAYLOAD_IN_PIECES} bytes in fragments of {PIECE}");
        table(&Way::new(PAYLOAD_IN_PIECES), fuel, loads);
    }
}

fn table(way: &Way, fuel: u64, wanted: impl Fn(&str) -> bool) {
    let measure = |wasm, fuel| match way.measure(wasm, fuel).1 {
        Ok(measured) => measured,
        Err(refused) => panic!("{refused}"),
    };
    let nothing = measure(wasm::always(0), fuel).packet;
    let mut rows: Vec<(f64, u64, String)> = ops::all()
        .into_iter()
        .filter(|op| wanted(&op.name))
        .map(|op| {
            let measured = measure(op.module(), fuel);
            let added = measured.packet.saturating_sub(nothing);
            let used = measured.entry.counters.fuel_max;
            (added as f64 / used as f64, added, op.name)
        })
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!(
        "{:<40} {:>12} {:>16}",
        "operation", "per fuel", "per packet"
    );
    for (ratio, added, name) in rows {
        println!("{name:<40} {ratio:>12.1} {added:>16}");
    }
}

fn corpus(filter: &str) {
    let way = Way::new(PAYLOAD);
    (0..SINCE_BOOT).for_each(|_| {
        way.send();
    });
    // The cost of a packet that the filter drops, or accepts, at once.
    let nothing = [0, 1].map(|verdict| {
        let measured = way.measure(wasm::always(verdict), DEFAULT_FUEL).1;
        measured.map_or(0, |measured| measured.packet)
    });
    println!(
        "{:<52} {:>8} {:>14} {:>7} {:>10} {:>12} {:>8}  outcome",
        "case", "module", "load", "stack", "memory", "packet", "fuel"
    );
    for case in cases().filter(|case| case.name.contains(filter)) {
        // The kernel module reports the peak of the stack since it was inserted.
        kernel::remove();
        kernel::insert();
        let wasm = (case.module)();
        let bytes = wasm.len();
        let (load, measured) = way.measure(wasm, DEFAULT_FUEL);
        let stack = Device::open().info().expect("info").load_stack_peak;
        match measured {
            Ok(measured) => {
                let counters = measured.entry.counters;
                let trap = (0..).zip(counters.traps).filter(|(_, count)| *count > 0);
                let traps: Vec<_> = trap
                    .filter_map(|(number, _)| nf_wasm_shared::abi::trap::Trap::from_number(number))
                    .map(nf_wasm_shared::abi::trap::Trap::name)
                    .collect();
                println!(
                    "{:<52} {bytes:>8} {:>14} {stack:>7} {:>10} {:>12} {:>8}  {}",
                    case.name,
                    load,
                    measured.entry.memory_per_cpu,
                    measured
                        .packet
                        .saturating_sub(nothing[usize::from(counters.accepted > 0)]),
                    counters.fuel_max,
                    if traps.is_empty() {
                        "decides".to_owned()
                    } else {
                        traps.join(", ")
                    }
                );
            }
            Err(refused) => println!(
                "{:<52} {bytes:>8} {:>14} {stack:>7} {:>10} {:>12} {:>8}  {:?}",
                case.name, load, "", "", "", refused.errno
            ),
        }
    }
}
