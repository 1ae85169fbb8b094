// SPDX-License-Identifier: GPL-2.0-only
//! Runs the corpus of hostile guests (`tests/hostile/`) in the kernel, and attacks that need
//! traffic: verdicts that cause further packets, floods of traps and of log lines, the memory of
//! hundreds of filters, storms of replacements. `nf-wasm-hostile` measures the cost of each guest.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use nf_wasm_hostile::{declared, heavy, packets, setup, Case, Expected};
use nf_wasm_shared::abi::capability::{ALL_BITS, LOG, PACKET};
use nf_wasm_shared::abi::guest::{ACCEPT, DROP};
use nf_wasm_shared::abi::ioctl::{
    FilterEntry, FAMILY_INET, FAMILY_IPV4, HOOK_EGRESS, HOOK_INGRESS, HOOK_INPUT, HOOK_OUTPUT,
    HOOK_POSTROUTING, HOOK_PREROUTING, QUARANTINE_NEVER, STATE_ACTIVE, STATE_QUARANTINED,
    TRAP_ACCEPT, TRAP_DROP,
};
use nf_wasm_shared::abi::limits;
use nf_wasm_shared::abi::trap::Trap;
use nf_wasm_tests::device::{hook, netdev, Device, Spec};
use nf_wasm_tests::filter::Filter;
use nf_wasm_tests::net::{Ip, Namespace, Net};
use nf_wasm_tests::traffic::{is_silent, pin_to_cpu, receive, send, send_one};
use nf_wasm_tests::{eventually, kernel, wasm};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

crate::tests![
    great_numbers_in_few_bytes,
    as_much_as_the_limits_allow,
    what_is_cut_off_uses_stack_as_well,
    between_translation_and_the_first_packet,
    packets_are_shown,
    a_verdict_never_meets_itself,
    a_flood_of_traps_ends_in_quarantine,
    a_flood_of_lines_is_ten_lines,
    pieces_of_a_packet_are_paid_for,
    memory_of_256_filters,
    a_storm_of_hostile_replacements,
];

/// Whether the refusal takes as long as `nfw_init` may run: more than a thousand million
/// instructions. `bad_modules` has one such case.
fn is_slow(case: &Case) -> bool {
    matches!(case.expected, Expected::Refused(_, words) if words.iter().any(|word| word.contains("out-of-fuel")))
}

/// Tries the corpus on packets that leave by loopback. The filter's counters are up to date when
/// `send` returns.
struct Trial {
    net: Net,
}

impl Trial {
    fn all<'a>(cases: impl IntoIterator<Item = &'a Case>) {
        let trial = Self { net: Net::pair() };
        // All packets go to one instance.
        let cases: Vec<&Case> = cases.into_iter().collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin_to_cpu(0);
                cases.into_iter().for_each(|case| trial.one(case));
            });
        });
    }

    fn namespace(&self) -> &Namespace {
        &self.net.client
    }

    fn one(&self, case: &Case) {
        let name = case.name;
        let wasm = (case.module)();
        let budget = limits::instance_bytes(wasm.len()) as u64;
        let spec = Spec::new("hostile", wasm)
            .allow(ALL_BITS)
            .on_trap(TRAP_DROP)
            .quarantine(QUARANTINE_NEVER)
            .at(hook(FAMILY_IPV4, HOOK_OUTPUT, 0));
        let loaded = self.namespace().try_load(&spec);
        stack_peak(name);
        match (case.expected, loaded) {
            (Expected::Refused(errno, words), Err(refused)) => {
                assert_eq!(refused.errno as i32, errno, "{name}: {refused}");
                for word in words {
                    assert!(
                        refused.text.contains(word),
                        "{name}: no {word:?}: {refused}"
                    );
                }
                assert_eq!(self.namespace().filters(), [], "{name}");
            }
            (Expected::Loaded(outcomes), Ok(filter)) => {
                let memory = filter.entry().memory_per_cpu;
                assert!(memory < budget, "{name}: {memory} of {budget} bytes");
                self.outcomes(name, &filter, outcomes);
                assert_eq!(filter.entry().memory_per_cpu, memory, "{name}");
            }
            (Expected::Refused(..), Ok(_)) => panic!("{name} was loaded"),
            (Expected::Loaded(_), Err(refused)) => panic!("{name}: {refused}"),
        }
    }

    fn outcomes(&self, name: &str, filter: &Filter, outcomes: &[Result<i32, Trap>]) {
        let address = IpAddr::from(Ipv4Addr::LOCALHOST);
        // Without a listener, ICMP errors would be counted too.
        let _socket = self.namespace().udp(address, 9);
        let sender = self.namespace().udp_to(SocketAddr::new(address, 9));
        let last = outcomes.last().expect("an outcome");
        for (number, expected) in outcomes.iter().chain([last; 2]).enumerate() {
            let before = filter.counters();
            send_one(&sender, &[0x5a; 600]);
            let after = filter.counters();
            let traps: Vec<Trap> = Trap::ALL
                .into_iter()
                .filter(|&trap| after.traps[trap as usize] > before.traps[trap as usize])
                .collect();
            let outcome = match (&traps[..], after.accepted - before.accepted) {
                ([trap], 0) => Err(*trap),
                ([], 1) => Ok(ACCEPT),
                ([], 0) => Ok(DROP),
                _ => panic!("{name}: {before:?} {after:?}"),
            };
            assert_eq!(outcome, *expected, "{name}, packet {number}");
            assert_eq!(after.packets, before.packets + 1, "{name}, packet {number}");
            assert!(after.fuel_max <= limits::DEFAULT_FUEL, "{name}");
        }
    }
}

/// The peak of the kernel stack in loads since the kernel module was inserted. A quarter of the
/// stack must remain. A kernel with KASAN has twice as much stack.
#[track_caller]
fn stack_peak(what: &str) -> u32 {
    let info = Device::open().info().expect("info");
    let (peak, size) = (info.load_stack_peak, info.load_stack_size);
    assert!(peak > 0, "the peak is not measured");
    assert!(
        peak < size / 4 * 3,
        "{what}: {peak} of {size} bytes of stack"
    );
    peak
}

fn great_numbers_in_few_bytes() {
    Trial::all(declared::CASES);
}

fn as_much_as_the_limits_allow() {
    Trial::all(heavy::CASES);
    println!("peak of a load's stack: {} bytes", stack_peak("all cases"));
}

fn what_is_cut_off_uses_stack_as_well() {
    let net = Net::pair();
    for cut in [100, 1000, 5000] {
        let mut wasm = heavy::everything();
        wasm.truncate(wasm.len() - cut);
        let refused = net.server.try_load(&Spec::new("cut", wasm).allow(ALL_BITS));
        assert_eq!(refused.expect_err("cut off").errno, Errno::ENOEXEC);
    }
    stack_peak("cut off");
}

fn between_translation_and_the_first_packet() {
    Trial::all(setup::CASES.iter().filter(|case| !is_slow(case)));
}

fn packets_are_shown() {
    Trial::all(packets::CASES);
}

/// Attaches a filter at every hook of the path, in both namespaces. The verdicts lead to further
/// packets: an ICMP error, a reset, an echo reply. The kernel sends each of them on the same CPU
/// while it still receives the packet that caused it. If such a packet entered a running filter,
/// the filter would trap.
fn a_verdict_never_meets_itself() {
    let net = Net::pair();
    for verdict in [ACCEPT, DROP] {
        // Packets are only dropped at the server's output hook, where the answers leave.
        let everywhere = |name: &str, device: &str| {
            Spec::new(name, wasm::always(ACCEPT))
                .on_trap(TRAP_DROP)
                .at(netdev(HOOK_INGRESS, device))
                .at(netdev(HOOK_EGRESS, device))
                .at(hook(FAMILY_INET, HOOK_PREROUTING, 0))
                .at(hook(FAMILY_INET, HOOK_INPUT, 0))
                .at(hook(FAMILY_INET, HOOK_POSTROUTING, 0))
        };
        let server = net.server.load(everywhere("server", "to-client"));
        let client = net.client.load(everywhere("client", "to-server"));
        let output = hook(FAMILY_INET, HOOK_OUTPUT, 0);
        let answers = net
            .server
            .load(Spec::new("answers", wasm::always(verdict)).at(output));
        for ip in [Ip::V4, Ip::V6] {
            let address = net.server_address(ip);
            // No listener: the server answers with ICMP errors and resets.
            let sender = net.client.udp_to(SocketAddr::new(address, 9));
            for _ in 0..20 {
                // A send returns the ICMP error that the previous send caused.
                let _ = std::net::UdpSocket::send(&sender, b"anybody?");
            }
            for _ in 0..5 {
                drop(net.client.dial(SocketAddr::new(address, 80)));
            }
            // The server sends to itself: the send path of loopback calls its receive path.
            let own = net.server.udp_to(SocketAddr::new(address, 9));
            for _ in 0..20 {
                let _ = std::net::UdpSocket::send(&own, b"myself?");
            }
        }
        eventually("there were answers", || {
            (answers.counters().packets >= 40).then_some(())
        });
        for filter in [&server, &client, &answers] {
            let counters = filter.counters();
            assert_eq!(counters.traps, [0; Trap::COUNT], "{counters:?}");
            assert!(counters.packets > 0);
        }
    }
}

/// A filter at a server's input hook, and a socket that sends to it.
fn input(spec: Spec) -> (Filter, Net, std::net::UdpSocket) {
    let net = Net::pair();
    let address = net.server_address(Ip::V4);
    let filter = net.server.load(spec.at(hook(FAMILY_IPV4, HOOK_INPUT, 0)));
    let sender = net.client.udp_to(SocketAddr::new(address, 9));
    (filter, net, sender)
}

fn a_flood_of_traps_ends_in_quarantine() {
    const PACKETS: u64 = 5_000;
    let before = kernel::log().lines().count();
    for (quarantine, state) in [
        (limits::DEFAULT_QUARANTINE, STATE_QUARANTINED),
        (QUARANTINE_NEVER, STATE_ACTIVE),
    ] {
        let spec = Spec::new("traps", wasm::filter("", "(unreachable)"));
        let (filter, _net, sender) = input(spec.quarantine(quarantine).on_trap(TRAP_DROP));
        let memory = filter.entry().memory_per_cpu;
        send(&sender, PACKETS, 64);
        eventually("the packets are counted", || {
            (filter.counters().packets == PACKETS).then_some(())
        });
        let entry = filter.entry();
        assert_eq!(entry.state, state);
        assert_eq!(entry.counters.dropped, PACKETS);
        let traps = entry.counters.traps[Trap::Unreachable as usize];
        assert_eq!(traps + entry.counters.quarantined, PACKETS);
        if quarantine == QUARANTINE_NEVER {
            assert_eq!(traps, PACKETS);
        } else {
            // The quarantine counts consecutive traps on one CPU. The other CPU may count up to its
            // limit too.
            assert!(
                traps <= u64::from(quarantine) * u64::from(cpus()),
                "{traps}"
            );
        }
        assert_eq!(entry.memory_per_cpu, memory);
    }
    // Traps are counted, not logged.
    let after = kernel::log().lines().count();
    assert!(after <= before + 5, "{}", kernel::log_tail(30));
}

fn cpus() -> u32 {
    Device::open().info().expect("info").cpus
}

fn a_flood_of_lines_is_ten_lines() {
    const PACKETS: u64 = 100;
    /// Longer than the rate limit's interval of 5 seconds.
    const FLOOD: Duration = Duration::from_secs(6);
    let wasm = wasm::filter(
        r#"(import "nfw.log" "write" (func $write (param i32 i32) (result i32)))
           (data (i32.const 0) "a hostile line")"#,
        "(loop $again
           (drop (call $write (i32.const 0) (i32.const 256)))
           (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
                                   (i32.const 10))))
         (i32.const 0)",
    );
    let _heard = kernel::LogAll::namespaces();
    let (filter, _net, sender) = input(Spec::new("loud", wasm).allow(LOG.bit));
    let since = Instant::now();
    let mut sent = 0;
    while since.elapsed() < FLOOD {
        send(&sender, PACKETS, 64);
        sent += PACKETS;
        eventually("the packets are counted", || {
            (filter.counters().packets == sent).then_some(())
        });
    }
    assert_eq!(filter.counters().dropped, sent);
    let intervals = since.elapsed().as_secs() / 5 + 1;
    let log = kernel::log();
    let lines = log.lines().filter(|line| line.contains("a hostile line"));
    let lines = lines.count() as u64;
    assert!(lines >= 10, "{lines} lines");
    assert!(
        lines <= 10 * intervals,
        "{lines} lines in {intervals} intervals"
    );
}

/// To find the last byte of a packet with many fragments, the kernel walks over all of them.
fn pieces_of_a_packet_are_paid_for() {
    let net = Net::pair();
    net.client.ip("link set lo mtu 68");
    let wasm = wasm::filter(
        r#"(import "nfw.packet" "load" (func $load (param i32 i32 i32) (result i32)))"#,
        "(call $load (i32.sub (i32.load offset=16 (local.get $ctx)) (i32.const 1))
                     (i32.const 0) (i32.const 1))
         (i32.eqz)",
    );
    let place = hook(FAMILY_IPV4, HOOK_OUTPUT, 0);
    let filter = net
        .client
        .load(Spec::new("last", wasm).allow(PACKET.bit).at(place));
    let address = IpAddr::from(Ipv4Addr::LOCALHOST);
    let sender = net.client.udp_to(SocketAddr::new(address, 9));
    let socket = net.client.udp(address, 9);
    setsockopt(&sender, sockopt::SndBufForce, &(64 << 20)).expect("SO_SNDBUFFORCE");
    // First a linear packet, then one with a fragment of 28 bytes and more than a thousand of 48.
    send(&sender, 1, 20);
    receive(&socket, 1);
    let one = filter.counters().fuel_total;
    send(&sender, 1, 65_000);
    receive(&socket, 1);
    let counters = filter.counters();
    assert_eq!(counters.accepted, 2, "{counters:?}");
    let many = counters.fuel_total - one;
    assert!(
        one < 40 && many > one + 65_000 / 48 - 10,
        "{one} and {many}"
    );
}

fn memory_of_256_filters() {
    let net = Net::pair();
    let available = || {
        let text = std::fs::read_to_string("/proc/meminfo").expect("meminfo");
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.and_then(|kib| kib.parse::<u64>().ok())
            .expect("MemAvailable")
    };
    // Each has two pages of linear memory.
    let wasm = wasm::filter("", "(i32.const 1)");
    let before = available();
    let filters: Vec<Filter> = (0..limits::FILTERS)
        .map(|number| {
            net.server
                .load(Spec::new(&format!("f{number}"), wasm.clone()))
        })
        .collect();
    let refused = net.server.try_load(&Spec::new("one-more", wasm.clone()));
    let refused = refused.expect_err("too many filters");
    assert_eq!(refused.errno, Errno::ENOSPC, "{refused}");
    let most = Device::open().info().expect("info").max_filters;
    assert_eq!(most, limits::FILTERS);
    assert!(refused.text.contains(&most.to_string()), "{refused}");
    let entries = net.server.filters();
    assert_eq!(entries.len(), limits::FILTERS as usize);
    let memory =
        |entry: &FilterEntry| entry.memory_per_cpu * u64::from(cpus()) + entry.memory_shared;
    let each = memory(&entries[0]);
    assert!(entries.iter().all(|entry| memory(entry) == each));
    let taken = before.saturating_sub(available()) << 10;
    let said = each * u64::from(limits::FILTERS);
    println!("256 filters report {said} bytes; the machine's free memory shrank by {taken}");
    // Rounding up to pages, and the kernel's other structs for each filter, take less than the
    // reported memory.
    assert!(taken < 2 * said, "{taken} bytes taken, {said} reported");
    drop(filters);
    assert_eq!(net.server.filters(), []);
    eventually("the memory is free again", || {
        (available() + (said >> 10) / 4 > before).then_some(())
    });
}

fn a_storm_of_hostile_replacements() {
    let (filter, net, sender) = input(Spec::new("stormed", wasm::always(1)).on_trap(TRAP_ACCEPT));
    let id = filter.id();
    let socket = net.server.udp(net.server_address(Ip::V4), 9);
    let modules: Vec<_> = packets::CASES
        .iter()
        .chain(setup::CASES)
        .filter(|case| !is_slow(case))
        .map(|case| (case.name, (case.module)(), case.expected))
        .collect();
    let mut replaced = 0;
    let mut sent = 0;
    for _ in 0..kernel::rounds(2, 1) {
        for (name, wasm, expected) in &modules {
            let outcome = net.server.enter(|| Device::open().replace(id, wasm));
            match (outcome, expected) {
                (Ok(()), Expected::Loaded(_)) => replaced += 1,
                // The filter has no capability.
                (Err(refused), _) if refused.errno == Errno::EACCES => {}
                (Err(refused), Expected::Refused(errno, _)) => {
                    assert_eq!(refused.errno as i32, *errno, "{name}");
                }
                (outcome, _) => panic!("{name}: {outcome:?}"),
            }
            send(&sender, 2, 64);
            sent += 2;
        }
    }
    eventually("the packets are counted", || {
        (filter.counters().packets == sent).then_some(())
    });
    let entry = filter.entry();
    assert_eq!(entry.replaced, replaced);
    let counters = entry.counters;
    assert_eq!(counters.accepted + counters.dropped, sent, "{counters:?}");
    assert_eq!(counters.traps[Trap::Internal as usize], 0);
    assert_eq!(counters.traps[Trap::Reentered as usize], 0);
    receive(&socket, counters.accepted);
    assert!(is_silent(&socket));
}
