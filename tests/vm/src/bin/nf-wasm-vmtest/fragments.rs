// SPDX-License-Identifier: GPL-2.0-only
//! IP fragments.

use std::net::SocketAddr;

use nf_wasm_shared::abi::ioctl::{
    FAMILY_INET, FAMILY_IPV4, FAMILY_IPV6, HOOK_INGRESS, HOOK_INPUT, HOOK_PREROUTING,
};
use nf_wasm_tests::device::{hook, netdev, Spec};
use nf_wasm_tests::net::{Ip, Net, BOTH};
use nf_wasm_tests::traffic::{is_silent, receive, send};
use nf_wasm_tests::{eventually, wasm};

crate::tests![
    later_fragments_have_no_transport,
    fragments_on_the_wire_are_seen_at_ingress,
    the_input_hook_sees_whole_datagrams_of_ipv4,
    the_input_hook_sees_fragments_of_ipv6,
    conntrack_puts_fragments_together_first,
];

/// Bytes of a datagram that is sent in three fragments at an MTU of 1,500.
const LARGE: usize = 4000;

/// Drops packets without a transport header.
fn require_transport() -> Vec<u8> {
    wasm::filter(
        "",
        "(i32.ne (i32.load offset=24 (local.get $ctx)) (i32.const -1))",
    )
}

/// Drops packets other than whole UDP datagrams of [`LARGE`] bytes.
fn require_whole() -> Vec<u8> {
    wasm::filter(
        "",
        &format!(
            "(i32.and
               (i32.eq (i32.load offset=28 (local.get $ctx)) (i32.const 17))
               (i32.eq (i32.sub (i32.load offset=16 (local.get $ctx))
                                (i32.load offset=24 (local.get $ctx)))
                       (i32.const {})))",
            LARGE + 8
        ),
    )
}

const fn family(ip: Ip) -> u32 {
    match ip {
        Ip::V4 => FAMILY_IPV4,
        Ip::V6 => FAMILY_IPV6,
    }
}

fn later_fragments_have_no_transport() {
    let net = Net::pair();
    for ip in BOTH {
        let place = hook(family(ip), HOOK_PREROUTING, 0);
        let filter = net
            .server
            .load(Spec::new("f", require_transport()).at(place));
        three_fragments(&net, ip, || {
            let counters = filter.counters();
            (counters.accepted, counters.dropped)
        });
    }
}

fn fragments_on_the_wire_are_seen_at_ingress() {
    let net = Net::pair();
    for ip in BOTH {
        let place = netdev(HOOK_INGRESS, "to-client");
        let filter = net
            .server
            .load(Spec::new("f", require_transport()).at(place));
        let before = filter.counters();
        three_fragments(&net, ip, || {
            let now = filter.counters();
            (now.accepted - before.accepted, now.dropped - before.dropped)
        });
    }
}

/// Sends a datagram in three fragments. The first is accepted, the others are dropped.
#[track_caller]
fn three_fragments(net: &Net, ip: Ip, counted: impl Fn() -> (u64, u64)) {
    let address = net.server_address(ip);
    let socket = net.server.udp(address, 9);
    send(&net.client.udp_to(SocketAddr::new(address, 9)), 1, LARGE);
    eventually("three fragments", || {
        let (accepted, dropped) = counted();
        (accepted >= 1 && dropped == 2).then_some(())
    });
    assert!(is_silent(&socket));
}

/// IPv4 reassembles fragments before the input hook, IPv6 after it.
fn the_input_hook_sees_whole_datagrams_of_ipv4() {
    let net = Net::pair();
    let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
    let filter = net.server.load(Spec::new("f", require_whole()).at(place));
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    send(&net.client.udp_to(SocketAddr::new(address, 9)), 5, LARGE);
    receive(&socket, 5);
    assert_eq!(filter.counters().packets, 5);
}

fn the_input_hook_sees_fragments_of_ipv6() {
    let net = Net::pair();
    let place = hook(FAMILY_IPV6, HOOK_INPUT, 0);
    let filter = net
        .server
        .load(Spec::new("f", require_transport()).at(place));
    three_fragments(&net, Ip::V6, || {
        let counters = filter.counters();
        (counters.accepted, counters.dropped)
    });
}

fn conntrack_puts_fragments_together_first() {
    let net = Net::pair();
    net.server.nft(
        "table inet t {
           chain c { type filter hook prerouting priority 0; ct state invalid drop; }
         }",
    );
    // The datagram is whole, and conntrack's state is 3, new.
    let new = wasm::filter(
        "",
        &format!(
            "(i32.and
               (i32.eq (i32.load offset=44 (local.get $ctx)) (i32.const 3))
               (i32.gt_u (i32.load offset=16 (local.get $ctx)) (i32.const {LARGE})))"
        ),
    );
    let filter = net.server.load(
        // Defragmentation runs at priority -400, conntrack at -200.
        Spec::new("f", new).at(hook(FAMILY_INET, HOOK_PREROUTING, -150)),
    );
    for (ip, counted) in BOTH.into_iter().zip([1, 2]) {
        let address = net.server_address(ip);
        let socket = net.server.udp(address, 9);
        send(&net.client.udp_to(SocketAddr::new(address, 9)), 1, LARGE);
        receive(&socket, 1);
        assert_eq!(filter.counters().accepted, counted, "{ip:?}");
    }
}
