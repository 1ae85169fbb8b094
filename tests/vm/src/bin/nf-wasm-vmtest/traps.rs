// SPDX-License-Identifier: GPL-2.0-only
//! Filters that trap: the trap policy decides, and each kind is counted.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nf_wasm_shared::abi::ioctl::{
    FAMILY_IPV4, HOOK_INPUT, HOOK_OUTPUT, NF_WASM_RELEASE, QUARANTINE_NEVER, STATE_ACTIVE,
    STATE_QUARANTINED, TIER_INTERP, TRAP_ACCEPT, TRAP_DROP,
};
use nf_wasm_shared::abi::trap::Trap;
use nf_wasm_tests::device::{hook, Device, Spec};
use nf_wasm_tests::filter::Filter;
use nf_wasm_tests::net::{Ip, Net};
use nf_wasm_tests::traffic::{is_silent, pin_to_cpu, receive, send};
use nf_wasm_tests::{eventually, kernel, wasm};

crate::tests![
    an_endless_loop_runs_out_of_fuel,
    endless_recursion_overflows_the_stack,
    memory_does_not_grow_for_a_packet,
    each_kind_of_trap_is_counted_and_decided_by_policy,
    memory_stays_as_a_trap_left_it,
    quarantine_after_consecutive_traps,
    a_verdict_ends_a_row_of_traps,
    a_release_lets_every_cpu_count_anew,
    a_release_is_not_undone_by_a_packet_from_before,
    quarantine_can_be_off,
    a_replacement_ends_a_quarantine,
    a_storm_of_traps_allocates_nothing,
];

/// A filter for each kind of trap that a guest can cause.
fn ways_to_go_wrong() -> Vec<(Trap, Vec<u8>)> {
    let ways = [
        (Trap::Unreachable, "", "(unreachable)"),
        (
            Trap::MemoryOutOfBounds,
            "",
            "(i32.load (i32.const 0x7ffffffe))",
        ),
        (
            Trap::MemoryOutOfBounds,
            "",
            "(i32.store (i32.const -4) (i32.const 1)) (i32.const 1)",
        ),
        (
            Trap::MemoryOutOfBounds,
            "",
            "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1)) (i32.const 1)",
        ),
        (
            Trap::IntegerDivisionByZero,
            "",
            "(i32.div_u (i32.const 1) (local.get $i))",
        ),
        (
            Trap::IntegerDivisionByZero,
            "",
            "(i32.rem_s (i32.const 1) (local.get $i))",
        ),
        (
            Trap::IntegerOverflow,
            "",
            "(i32.div_s (i32.const 0x80000000) (i32.sub (local.get $i) (i32.const 1)))",
        ),
        (
            Trap::TableOutOfBounds,
            "(table 2 funcref)",
            "(call_indirect (result i32) (i32.const 5))",
        ),
        (
            Trap::IndirectCallToNull,
            "(table 2 funcref)",
            "(call_indirect (result i32) (i32.const 1))",
        ),
        (
            Trap::BadSignature,
            "(table 2 funcref) (elem (i32.const 0) $filter)",
            "(call_indirect (result i32) (i32.const 0))",
        ),
        (
            Trap::StackOverflow,
            "",
            "(call $filter (local.get $ctx) (local.get $pkt) (local.get $len))",
        ),
        (Trap::OutOfFuel, "", "(loop $for (br $for)) (unreachable)"),
        (Trap::UnknownVerdict, "", "(i32.const 2)"),
        (Trap::UnknownVerdict, "", "(i32.const -1)"),
        (Trap::UnknownVerdict, "", "(i32.const 16)"),
    ];
    ways.into_iter()
        .map(|(kind, fields, body)| (kind, wasm::filter(fields, body)))
        .collect()
}

/// A server's socket, a socket that sends to it, and a filter between them.
pub(crate) struct Path {
    // Dropped in this order.
    pub(crate) filter: Filter,
    socket: UdpSocket,
    sender: UdpSocket,
    _net: Net,
}

pub(crate) fn path(spec: Spec) -> Path {
    let net = Net::pair();
    let address = net.server_address(Ip::V4);
    Path {
        filter: net.server.load(spec.at(hook(FAMILY_IPV4, HOOK_INPUT, 0))),
        socket: net.server.udp(address, 9),
        sender: net.client.udp_to(SocketAddr::new(address, 9)),
        _net: net,
    }
}

impl Path {
    /// Sends `count` packets from one CPU, so that they go to one instance, and waits until they
    /// are counted.
    #[track_caller]
    pub(crate) fn send(&self, count: u64) {
        self.send_on(0, count);
    }

    #[track_caller]
    pub(crate) fn send_on(&self, cpu: usize, count: u64) {
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

fn an_endless_loop_runs_out_of_fuel() {
    let endless = wasm::filter("", "(loop $for (br $for)) (unreachable)");
    // The maximum that an operator can grant.
    let path = path(Spec::new("loop", endless).fuel(10_000_000));
    path.send(3);
    receive(&path.socket, 3);
    let counters = path.filter.counters();
    assert_eq!(counters.traps[Trap::OutOfFuel as usize], 3);
    assert!(counters.fuel_max <= 10_000_000);
}

fn endless_recursion_overflows_the_stack() {
    for body in [
        "(call $filter (local.get $ctx) (local.get $pkt) (local.get $len))",
        // Not a tail call: the caller still adds.
        "(i32.add (i32.const 1)
           (call $filter (local.get $ctx) (local.get $pkt) (local.get $len)))",
    ] {
        let spec = Spec::new("recursion", wasm::filter("", body));
        let path = path(spec.fuel(10_000_000));
        path.send(3);
        receive(&path.socket, 3);
        assert_eq!(path.filter.traps(Trap::StackOverflow), 3);
    }
}

fn memory_does_not_grow_for_a_packet() {
    for body in [
        "(i32.eq (memory.grow (i32.const 1)) (i32.const -1))",
        "(i32.eq (memory.grow (i32.const 60)) (i32.const -1))",
        "(i32.eq (table.grow (ref.null func) (i32.const 1)) (i32.const -1))",
        // Growing by 0 is always allowed and returns the size.
        "(i32.ge_s (memory.grow (i32.const 0)) (i32.const 1))",
    ] {
        let path = path(Spec::new("grow", wasm::filter("(table 1 funcref)", body)));
        let memory = path.filter.entry().memory_per_cpu;
        path.send(100);
        receive(&path.socket, 100);
        let entry = path.filter.entry();
        assert_eq!(entry.counters.accepted, 100, "{body}");
        assert_eq!(entry.counters.traps, [0; Trap::COUNT], "{body}");
        assert_eq!(entry.memory_per_cpu, memory, "{body}");
    }
}

fn each_kind_of_trap_is_counted_and_decided_by_policy() {
    let path = path(Spec::new("wrong", wasm::always(1)));
    for policy in [TRAP_ACCEPT, TRAP_DROP] {
        for (kind, wasm) in ways_to_go_wrong() {
            let name = format!("{}-{policy}", kind.name());
            let place = hook(FAMILY_IPV4, HOOK_INPUT, 1);
            let spec = Spec::new(&name, wasm).on_trap(policy).at(place);
            let filter = path._net.server.load(spec);
            path.send(3);
            let counters = eventually("three traps", || {
                Some(filter.counters()).filter(|counters| counters.packets == 3)
            });
            assert_eq!(counters.traps[kind as usize], 3, "{name}: {counters:?}");
            assert_eq!(
                counters.traps.iter().sum::<u64>(),
                3,
                "{name}: {counters:?}"
            );
            if policy == TRAP_ACCEPT {
                assert_eq!(counters.accepted, 3, "{name}");
                receive(&path.socket, 3);
            } else {
                assert_eq!(counters.dropped, 3, "{name}");
            }
            assert!(is_silent(&path.socket), "{name}");
        }
    }
}

fn memory_stays_as_a_trap_left_it() {
    // Traps on every other packet. A global counts the packets.
    let wasm = wasm::filter(
        "(global $odd (mut i32) (i32.const 0))",
        "(global.set $odd (i32.xor (global.get $odd) (i32.const 1)))
         (if (global.get $odd) (then (unreachable)))
         (i32.const 1)",
    );
    let path = path(Spec::new("other", wasm).on_trap(TRAP_DROP));
    path.send(10);
    receive(&path.socket, 5);
    let counters = path.filter.counters();
    assert_eq!(counters.traps[Trap::Unreachable as usize], 5);
    assert_eq!((counters.accepted, counters.dropped), (5, 5));
}

fn quarantine_after_consecutive_traps() {
    let spec = Spec::new("bad", wasm::filter("", "(unreachable)"));
    let path = path(spec.quarantine(5).on_trap(TRAP_ACCEPT));
    path.send(4);
    assert_eq!(path.filter.entry().state, STATE_ACTIVE);
    path.send(6);
    receive(&path.socket, 10);
    let entry = path.filter.entry();
    assert_eq!(entry.state, STATE_QUARANTINED);
    assert_eq!(entry.counters.traps[Trap::Unreachable as usize], 5);
    assert_eq!(entry.counters.quarantined, 5);
    assert_eq!(entry.counters.accepted, 10);

    path.filter.release();
    assert_eq!(path.filter.entry().state, STATE_ACTIVE);
    path.send(1);
    assert_eq!(path.filter.traps(Trap::Unreachable), 6);
    assert_eq!(path.filter.entry().state, STATE_ACTIVE);
    path.send(4);
    assert_eq!(path.filter.entry().state, STATE_QUARANTINED);
}

fn a_verdict_ends_a_row_of_traps() {
    // Traps on two of three packets.
    let wasm = wasm::filter(
        "(global $count (mut i32) (i32.const 0))",
        "(global.set $count (i32.add (global.get $count) (i32.const 1)))
         (if (i32.rem_u (global.get $count) (i32.const 3)) (then (unreachable)))
         (i32.const 1)",
    );
    let path = path(Spec::new("mostly-bad", wasm).quarantine(3));
    path.send(30);
    assert_eq!(path.filter.entry().state, STATE_ACTIVE);
    assert_eq!(path.filter.traps(Trap::Unreachable), 20);
}

fn a_release_lets_every_cpu_count_anew() {
    let spec = Spec::new("broken", wasm::filter("", "(unreachable)"));
    let path = path(spec.quarantine(10));
    // The other CPU comes close to its limit, this one reaches it.
    path.send_on(1, 6);
    path.send_on(0, 10);
    assert_eq!(path.filter.entry().state, STATE_QUARANTINED);
    path.filter.release();
    path.send_on(1, 9);
    assert_eq!(path.filter.entry().state, STATE_ACTIVE);
    path.send_on(1, 1);
    assert_eq!(path.filter.entry().state, STATE_QUARANTINED);
}

/// A slow packet traps at its end. Before that, another packet quarantines the filter and an
/// operator releases it. The slow packet's trap began before the release, so it must not count.
fn a_release_is_not_undone_by_a_packet_from_before() {
    const ATTEMPTS: u32 = 20;
    const MEETINGS: u32 = 4;
    let net = Net::pair();
    // A datagram of one byte traps at once.
    let wasm = wasm::filter(
        "",
        "(if (i32.eq (local.get $len) (i32.const 29)) (then (unreachable)))
         (loop $for (br $for))
         (unreachable)",
    );
    let spec = Spec::new("slow", wasm).fuel(kernel::much_fuel());
    let spec = spec.quarantine(1).tier(TIER_INTERP);
    let filter = net.server.load(spec.at(hook(FAMILY_IPV4, HOOK_OUTPUT, 0)));
    let to = SocketAddr::new(net.client_address(Ip::V4), 9);
    let _receiver = net.client.udp(to.ip(), 9);
    let [slow, quick] = [(); 2].map(|()| net.server.udp_to(to));
    let mut meetings = 0;
    for _ in 0..ATTEMPTS {
        let (begun, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let were_slow = filter.traps(Trap::OutOfFuel);
        let was_inside = thread::scope(|scope| {
            scope.spawn(|| {
                pin_to_cpu(1);
                begun.store(true, Ordering::Release);
                send(&slow, 1, 64);
                done.store(true, Ordering::Release);
            });
            net.server.enter(|| {
                let device = Device::open();
                pin_to_cpu(0);
                while !begun.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                // Give the slow packet time to enter. The attempt counts only if the time was
                // right.
                thread::sleep(Duration::from_millis(5));
                send(&quick, 1, 1);
                let was_inside = !done.load(Ordering::Acquire);
                let released = device.select(NF_WASM_RELEASE, filter.id());
                released.expect("release");
                was_inside
            })
        });
        if was_inside && filter.traps(Trap::OutOfFuel) == were_slow + 1 {
            assert_eq!(filter.entry().state, STATE_ACTIVE);
            meetings += 1;
            if meetings == MEETINGS {
                return;
            }
        }
        filter.release();
    }
    panic!("the packets overlapped {meetings} times in {ATTEMPTS} attempts");
}

fn quarantine_can_be_off() {
    let spec = Spec::new("bad", wasm::filter("", "(unreachable)"));
    let path = path(spec.quarantine(QUARANTINE_NEVER));
    // The default limit is a thousand traps.
    path.send(1500);
    assert_eq!(path.filter.entry().state, STATE_ACTIVE);
    assert_eq!(path.filter.traps(Trap::Unreachable), 1500);
}

fn a_replacement_ends_a_quarantine() {
    let spec = Spec::new("bad", wasm::filter("", "(unreachable)"));
    let path = path(spec.quarantine(1).on_trap(TRAP_DROP));
    path.send(2);
    assert_eq!(path.filter.entry().state, STATE_QUARANTINED);
    path.filter.replace(&wasm::always(1));
    assert_eq!(path.filter.entry().state, STATE_ACTIVE);
    path.send(2);
    receive(&path.socket, 2);
}

fn a_storm_of_traps_allocates_nothing() {
    let path = path(Spec::new("before", wasm::always(1)));
    for (kind, wasm) in ways_to_go_wrong() {
        let place = hook(FAMILY_IPV4, HOOK_INPUT, 1);
        let spec = Spec::new("storm", wasm).quarantine(QUARANTINE_NEVER);
        let filter = path._net.server.load(spec.at(place));
        let count = match kind {
            // These take half a million instructions each.
            Trap::OutOfFuel if kernel::is_slow() => 10,
            Trap::OutOfFuel => 50,
            _ if kernel::is_slow() => 100,
            _ => 500,
        };
        path.send(count);
        eventually("each packet traps", || {
            (filter.traps(kind) == count).then_some(())
        });
        let info = Device::open().info().expect("info");
        assert_eq!(info.packet_path_allocations, 0, "{}", kind.name());
    }
}
