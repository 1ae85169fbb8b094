// SPDX-License-Identifier: GPL-2.0-only
//! Counters match the traffic that was sent.

use std::net::SocketAddr;

use nf_wasm_shared::abi::capability::LOG;
use nf_wasm_shared::abi::ioctl::{
    Counters, FAMILY_INET, FAMILY_IPV4, HOOK_INPUT, HOOK_PREROUTING, TRAP_DROP,
};
use nf_wasm_shared::abi::trap::Trap;
use nf_wasm_tests::device::{hook, Spec};
use nf_wasm_tests::net::{Ip, Net, BOTH};
use nf_wasm_tests::traffic::{pin_to_cpu, receive, send};
use nf_wasm_tests::{eventually, kernel, wasm};

crate::tests![
    packets_and_bytes_sent_are_counted,
    each_attachment_counts_its_own,
    fuel_has_a_minimum_and_a_maximum,
    count_by_protocol_logs,
];

fn packets_and_bytes_sent_are_counted() {
    let net = Net::pair();
    for (ip, headers) in BOTH.into_iter().zip([28, 48]) {
        let place = hook(FAMILY_INET, HOOK_INPUT, 0);
        let filter = net.server.load(Spec::new("f", wasm::always(1)).at(place));
        let address = net.server_address(ip);
        let socket = net.server.udp(address, 9);
        send(&net.client.udp_to(SocketAddr::new(address, 9)), 1000, 100);
        receive(&socket, 1000);
        let counters = filter.counters();
        let fuel = counters.fuel_min;
        assert!(fuel > 0);
        assert_eq!(
            counters,
            Counters {
                packets: 1000,
                bytes: 1000 * (headers + 100),
                accepted: 1000,
                dropped: 0,
                quarantined: 0,
                traps: [0; Trap::COUNT],
                fuel_total: 1000 * fuel,
                fuel_min: fuel,
                fuel_max: fuel,
            }
        );
        assert_eq!(filter.attachments()[0].counters, counters);
    }
}

fn each_attachment_counts_its_own() {
    let net = Net::pair();
    let filter = net.server.load(
        Spec::new("f", wasm::always(1))
            .at(hook(FAMILY_IPV4, HOOK_PREROUTING, 0))
            .at(hook(FAMILY_IPV4, HOOK_INPUT, 0)),
    );
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    send(&net.client.udp_to(SocketAddr::new(address, 9)), 10, 1);
    receive(&socket, 10);
    let counted: Vec<u64> = filter
        .attachments()
        .iter()
        .map(|it| it.counters.packets)
        .collect();
    assert_eq!(counted, [10, 10]);
    assert_eq!(filter.counters().packets, 20);
}

fn fuel_has_a_minimum_and_a_maximum() {
    let net = Net::pair();
    // One round for each byte of the packet, and an endless loop above a thousand bytes.
    let wasm = wasm::filter(
        "",
        "(loop $again
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.load offset=16 (local.get $ctx))))
           (br_if $again (i32.gt_u (i32.load offset=16 (local.get $ctx)) (i32.const 1000))))
         (i32.const 1)",
    );
    let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
    let spec = Spec::new("f", wasm).fuel(50_000).on_trap(TRAP_DROP);
    let filter = net.server.load(spec.at(place));
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    let sender = net.client.udp_to(SocketAddr::new(address, 9));

    send(&sender, 1, 100);
    receive(&socket, 1);
    let small = filter.counters();
    assert_eq!(small.fuel_min, small.fuel_max);
    send(&sender, 1, 200);
    receive(&socket, 1);
    let large = filter.counters();
    assert_eq!(large.fuel_min, small.fuel_min);
    assert!(large.fuel_max > small.fuel_max);
    assert_eq!(large.fuel_total, large.fuel_min + large.fuel_max);
    send(&sender, 1, 1000);
    eventually("out of fuel", || {
        (filter.traps(Trap::OutOfFuel) == 1).then_some(())
    });
    let all = filter.counters();
    assert!(all.fuel_max <= 50_000 && all.fuel_max > 49_000, "{all:?}");
    assert_eq!(all.dropped, 1);
}

fn count_by_protocol_logs() {
    let _heard = kernel::LogAll::namespaces();
    let net = Net::pair();
    let spec = Spec::new("count-vmtest", wasm::example("count-by-protocol.wasm"));
    let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
    let _filter = net.server.load(spec.allow(LOG.bit).at(place));
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    let sender = net.client.udp_to(SocketAddr::new(address, 9));
    // Each CPU has its own counters.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin_to_cpu(0);
            send(&sender, 100, 1);
        });
    });
    receive(&socket, 100);
    let line = "100 packets: tcp 0, udp 100, icmp 0, other 0";
    let log = kernel::log();
    assert!(
        log.lines()
            .any(|it| it.contains("count-vmtest") && it.contains(line)),
        "{log}"
    );
}
