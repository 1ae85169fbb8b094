// SPDX-License-Identifier: GPL-2.0-only
//! CPUs go offline and online. Each online CPU has an instance of each program.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

use nf_wasm_shared::abi::capability::LOG;
use nf_wasm_shared::abi::ioctl::{FAMILY_IPV4, HOOK_INPUT, TIER_INTERP, TIER_JIT, TRAP_DROP};
use nf_wasm_shared::abi::trap::Trap;
use nf_wasm_tests::cpu::Offline;
use nf_wasm_tests::device::{hook, Spec};
use nf_wasm_tests::filter::Filter;
use nf_wasm_tests::net::Net;
use nf_wasm_tests::storm::{storm, Plan};
use nf_wasm_tests::traffic::{is_silent, pin_to_cpu, receive, send};
use nf_wasm_tests::{eventually, kernel, wasm};

crate::tests![
    instances_go_and_come_with_their_cpu,
    initialisation_runs_once,
    a_cpu_comes_online_with_a_hundred_programs,
    counters_of_a_cpu_that_is_gone_stay,
    a_cpu_comes_online_without_memory_for_instances,
    rmmod_and_insmod_with_a_cpu_offline,
    cpus_come_and_go_in_a_storm,
];

/// A filter on a network namespace's loopback device, a socket that sends to it, and one that
/// receives.
struct Loop {
    filter: Filter,
    socket: UdpSocket,
    sender: UdpSocket,
    net: Net,
}

impl Loop {
    fn with(spec: Spec) -> Self {
        let net = Net::pair();
        let address = IpAddr::from(Ipv4Addr::LOCALHOST);
        Self {
            filter: net.server.load(spec.at(hook(FAMILY_IPV4, HOOK_INPUT, 0))),
            socket: net.server.udp(address, 9),
            sender: net.server.udp_to(SocketAddr::new(address, 9)),
            net,
        }
    }

    /// Sends from one CPU, so that this CPU's instance decides the packets.
    #[track_caller]
    fn send_on(&self, cpu: usize, count: u64) {
        let goal = self.filter.counters().packets + count;
        thread::scope(|scope| {
            scope.spawn(|| {
                pin_to_cpu(cpu);
                send(&self.sender, count, 1);
            });
        });
        eventually("the packets are counted", || {
            (self.filter.counters().packets == goal).then_some(())
        });
    }
}

/// A filter that accepts five packets on each CPU: each instance has its own count.
fn five() -> Vec<u8> {
    wasm::filter(
        "(global $seen (mut i32) (i32.const 0))",
        "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
         (i32.le_u (global.get $seen) (i32.const 5))",
    )
}

fn instances_go_and_come_with_their_cpu() {
    for tier in [TIER_JIT, TIER_INTERP] {
        an_instance_goes_and_comes_with_its_cpu(tier);
    }
}

/// No instance sees another's state, and the new one begins as the snapshot, which has not changed.
fn an_instance_goes_and_comes_with_its_cpu(tier: u32) {
    let path = Loop::with(Spec::new("five", five()).tier(tier));
    let memory = path.filter.entry().memory_per_cpu;
    assert_eq!(path.filter.entry().instances, 2);
    path.send_on(1, 5);
    receive(&path.socket, 5);

    let cpu = Offline::take(1);
    assert_eq!(path.filter.entry().instances, 1);
    // A filter that is loaded while the CPU is offline, and one that was replaced.
    let other = path.net.client.load(Spec::new("other", wasm::always(1)));
    assert_eq!(other.entry().instances, 1);
    path.filter.replace(&five());
    assert_eq!(path.filter.entry().instances, 1);
    path.send_on(0, 1);
    receive(&path.socket, 1);

    cpu.bring_back();
    assert_eq!(other.entry().instances, 2);
    let entry = path.filter.entry();
    assert_eq!((entry.instances, entry.memory_per_cpu), (2, memory));
    // The new instance has seen no packets.
    path.send_on(1, 6);
    receive(&path.socket, 5);
    assert!(is_silent(&path.socket));
    let counters = path.filter.counters();
    assert_eq!((counters.packets, counters.dropped), (12, 1));
    assert_eq!(counters.traps, [0; Trap::COUNT]);
}

fn initialisation_runs_once() {
    let _heard = kernel::LogAll::namespaces();
    let wasm = wasm::filter(
        r#"(import "nfw.log" "write" (func $log (param i32 i32) (result i32)))
           (data (i32.const 0) "beginning")
           (func (export "nfw_init") (result i32)
             (drop (call $log (i32.const 0) (i32.const 9))) (i32.const 0))"#,
        "(i32.const 1)",
    );
    let said = |name: &str| {
        let log = kernel::log();
        log.lines().filter(|line| line.contains(name)).count()
    };
    let net = Net::pair();
    for (tier, name) in [
        (TIER_JIT, "once-compiled"),
        (TIER_INTERP, "once-interpreted"),
    ] {
        let spec = Spec::new(name, wasm.clone()).allow(LOG.bit).tier(tier);
        let filter = net.server.load(spec);
        Offline::take(1).bring_back();
        assert_eq!(filter.entry().instances, 2);
        assert_eq!(said(name), 1, "{name}");
    }
}

fn a_cpu_comes_online_with_a_hundred_programs() {
    let path = Loop::with(Spec::new("counting", wasm::always(1)));
    let tiers = [TIER_JIT, TIER_JIT, TIER_JIT, TIER_INTERP]
        .into_iter()
        .cycle();
    let programs: Vec<Filter> = tiers
        .take(kernel::rounds(100, 20) as usize)
        .enumerate()
        .map(|(at, tier)| {
            let spec = Spec::new(&format!("f{at}"), five()).tier(tier);
            path.net.client.load(spec)
        })
        .collect();
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let flood = path.net.server.flood_on_cpu(to, 0);
    for _ in 0..2 {
        flood.wait_for(50);
        let cpu = Offline::take(1);
        assert!(programs.iter().all(|it| it.entry().instances == 1));
        flood.wait_for(50);
        cpu.bring_back();
        assert!(programs.iter().all(|it| it.entry().instances == 2));
    }
    let sent = flood.stop();
    eventually("the packets are counted", || {
        (path.filter.counters().packets == sent).then_some(())
    });
    assert_eq!(path.filter.counters().traps, [0; Trap::COUNT]);
}

fn counters_of_a_cpu_that_is_gone_stay() {
    let path = Loop::with(Spec::new("five", five()));
    path.send_on(1, 7);
    let before = path.filter.counters();
    assert_eq!((before.packets, before.dropped), (7, 2));
    let cpu = Offline::take(1);
    assert_eq!(path.filter.counters(), before);
    assert_eq!(path.filter.attachments()[0].counters, before);
    cpu.bring_back();
    assert_eq!(path.filter.counters(), before);
}

/// Inserts the kernel module so that builds for CPUs that come online fail, and normally when it is
/// dropped.
struct Failing;

impl Failing {
    fn insert() -> Self {
        kernel::remove();
        kernel::insert_with(&["fail_allocations=2"]);
        Self
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        kernel::remove();
        kernel::insert();
    }
}

fn a_cpu_comes_online_without_memory_for_instances() {
    let _failing = Failing::insert();
    let path = Loop::with(Spec::new("five", five()).on_trap(TRAP_DROP).quarantine(3));
    Offline::take(1).bring_back();
    assert_eq!(path.filter.entry().instances, 1);
    let log = kernel::log_tail(5);
    assert!(
        log.contains("CPU 1 has no instance of 1 of 1 programs"),
        "{log}"
    );

    // On the CPU without an instance, the trap policy decides. The filter is not to blame: no
    // quarantine.
    path.send_on(1, 4);
    assert!(is_silent(&path.socket));
    assert_eq!(path.filter.traps(Trap::Internal), 4);
    assert_eq!(path.filter.counters().quarantined, 0);
    path.send_on(0, 1);
    receive(&path.socket, 1);

    // The remedy that the kernel log names.
    path.filter.replace(&five());
    assert_eq!(path.filter.entry().instances, 2);
    path.send_on(1, 4);
    receive(&path.socket, 4);
    assert_eq!(path.filter.traps(Trap::Internal), 4);
}

/// A short storm. `nf-wasm-storm --hotplug` runs a long one.
fn cpus_come_and_go_in_a_storm() {
    let report = storm(&Plan {
        seconds: kernel::rounds(10, 4),
        processes: 4,
        seed: 2,
        hotplug: true,
    });
    println!("{report}");
    assert!(report.hotplugs > 0 && report.sent > 0);
    assert_eq!(report.differences(), [0; 3]);
    assert_eq!(report.done.internal, 0, "a packet found no instance");
}

fn rmmod_and_insmod_with_a_cpu_offline() {
    let cpu = Offline::take(1);
    kernel::remove();
    kernel::insert();
    let path = Loop::with(Spec::new("five", five()));
    assert_eq!(path.filter.entry().instances, 1);
    cpu.bring_back();
    assert_eq!(path.filter.entry().instances, 2);
    path.send_on(1, 5);
    receive(&path.socket, 5);
    // No CPU callback of a removed kernel module may remain.
    drop(path);
    kernel::remove();
    Offline::take(1).bring_back();
    kernel::insert();
}
