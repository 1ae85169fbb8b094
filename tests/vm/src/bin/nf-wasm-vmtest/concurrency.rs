// SPDX-License-Identifier: GPL-2.0-only
//! Runs one filter in a process and in a softirq, and on several CPUs, at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;

use nf_wasm_shared::abi::ioctl::{FAMILY_IPV4, HOOK_INPUT, HOOK_OUTPUT};
use nf_wasm_shared::abi::trap::Trap;
use nf_wasm_tests::device::{hook, Spec};
use nf_wasm_tests::filter::Filter;
use nf_wasm_tests::kernel;
use nf_wasm_tests::net::{Ip, Net};
use nf_wasm_tests::traffic::{pin_to_cpu, receive, send};
use nf_wasm_tests::{eventually, wasm};

crate::tests![
    two_cpus_at_once,
    output_from_a_process_while_softirq_runs_the_same_filter,
    tables_are_read_while_packets_pass,
];

/// A filter that takes long, so that a softirq may interrupt it. It traps if its memory does not
/// have the values that it wrote.
fn busy() -> Vec<u8> {
    wasm::filter(
        "",
        "(loop $again
           (i32.store (i32.const 64) (local.get $i))
           (if (i32.ne (i32.load (i32.const 64)) (local.get $i)) (then (unreachable)))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const 200))))
         (i32.const 1)",
    )
}

#[track_caller]
fn counted_without_traps(filter: &Filter, packets: u64) {
    let counters = eventually("all packets are counted", || {
        Some(filter.counters()).filter(|counters| counters.packets >= packets)
    });
    assert_eq!(counters.packets, packets);
    assert_eq!(counters.accepted, packets);
    assert_eq!(counters.traps, [0; Trap::COUNT]);
}

fn two_cpus_at_once() {
    const EACH: u64 = 3000;
    let net = Net::pair();
    let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
    let filter = net.server.load(Spec::new("busy", busy()).at(place));
    let address = IpAddr::from(Ipv4Addr::LOCALHOST);
    let sockets = [9, 10].map(|port| net.server.udp(address, port));
    thread::scope(|scope| {
        for (cpu, port) in [(0, 9), (1, 10)] {
            let sender = net.server.udp_to(SocketAddr::new(address, port));
            scope.spawn(move || {
                pin_to_cpu(cpu);
                send(&sender, EACH, 1);
            });
        }
    });
    for socket in &sockets {
        receive(socket, EACH);
    }
    counted_without_traps(&filter, 2 * EACH);
}

fn output_from_a_process_while_softirq_runs_the_same_filter() {
    const EACH: u64 = 3000;
    let net = Net::pair();
    let spec = Spec::new("busy", busy())
        .at(hook(FAMILY_IPV4, HOOK_OUTPUT, 0))
        .at(hook(FAMILY_IPV4, HOOK_INPUT, 0));
    let filter = net.server.load(spec);
    let [server, client] = [net.server_address(Ip::V4), net.client_address(Ip::V4)];
    let inward = net.server.udp(server, 9);
    let outward = net.client.udp(client, 9);
    thread::scope(|scope| {
        // Both contexts on both CPUs: a sent packet is received in softirq, on its sender's CPU.
        for cpu in [0, 1] {
            let to_server = net.client.udp_to(SocketAddr::new(server, 9));
            let to_client = net.server.udp_to(SocketAddr::new(client, 9));
            scope.spawn(move || {
                pin_to_cpu(cpu);
                send(&to_server, EACH / 2, 1);
            });
            scope.spawn(move || {
                pin_to_cpu(cpu);
                send(&to_client, EACH / 2, 1);
            });
        }
    });
    receive(&inward, EACH);
    receive(&outward, EACH);
    counted_without_traps(&filter, 2 * EACH);
}

fn tables_are_read_while_packets_pass() {
    let net = Net::pair();
    let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
    let filter = net
        .server
        .load(Spec::new("read", wasm::always(1)).at(place));
    let address = IpAddr::from(Ipv4Addr::LOCALHOST);
    let flood = net.server.flood(SocketAddr::new(address, 9));
    let mut last = 0;
    for _ in 0..kernel::rounds(100, 25) {
        let counters = filter.counters();
        assert!(counters.packets >= last, "counters do not go back");
        last = counters.packets;
        let attachment = filter.attach(hook(FAMILY_IPV4, HOOK_INPUT, 1));
        filter.detach(attachment.expect("attach")).expect("detach");
        // The filter keeps the counts of the removed attachment.
        assert!(filter.counters().packets >= last);
    }
    flood.wait_for(1);
}
