// SPDX-License-Identifier: GPL-2.0-only
//! The three versions of block-telnet decide real TCP and UDP at every hook.

use std::io::{Read, Write};
use std::net::SocketAddr;

use nf_wasm_shared::abi::ioctl::{
    FAMILY_INET, HOOK_EGRESS, HOOK_FORWARD, HOOK_INGRESS, HOOK_INPUT, HOOK_OUTPUT,
    HOOK_POSTROUTING, HOOK_PREROUTING,
};
use nf_wasm_tests::device::{hook, netdev, Spec};
use nf_wasm_tests::filter::Filter;
use nf_wasm_tests::net::{Namespace, Net, BOTH};
use nf_wasm_tests::traffic::{accept, receive};
use nf_wasm_tests::{eventually, wasm, BLOCK_TELNET};

crate::tests![
    block_telnet_in_rust_at_every_hook,
    block_telnet_in_c_at_every_hook,
    block_telnet_in_wat_at_every_hook,
    accept_all_accepts,
    drop_all_drops,
    answers_from_port_23_pass,
];

fn block_telnet_in_rust_at_every_hook() {
    at_every_hook(BLOCK_TELNET[0]);
}

fn block_telnet_in_c_at_every_hook() {
    at_every_hook(BLOCK_TELNET[1]);
}

fn block_telnet_in_wat_at_every_hook() {
    at_every_hook(BLOCK_TELNET[2]);
}

fn at_every_hook(file: &str) {
    let net = Net::routed();
    let places: [(&Namespace, _); 7] = [
        (&net.client, hook(FAMILY_INET, HOOK_OUTPUT, 0)),
        (&net.client, netdev(HOOK_EGRESS, net.client_device())),
        (net.router(), netdev(HOOK_INGRESS, "to-client")),
        (net.router(), hook(FAMILY_INET, HOOK_PREROUTING, -300)),
        (net.router(), hook(FAMILY_INET, HOOK_FORWARD, 0)),
        (net.router(), hook(FAMILY_INET, HOOK_POSTROUTING, 100)),
        (&net.server, hook(FAMILY_INET, HOOK_INPUT, i32::MAX)),
    ];
    for (namespace, place) in places {
        let filter = namespace.load(Spec::new("block-telnet", wasm::example(file)).at(place));
        blocks_telnet_only(&net, &filter);
    }
}

/// Checks that TCP to port 23 is dropped, and that TCP to 80 and UDP to 23 pass.
#[track_caller]
fn blocks_telnet_only(net: &Net, filter: &Filter) {
    for ip in BOTH {
        let address = net.server_address(ip);
        let telnet = net.server.tcp(address, 23);
        let web = net.server.tcp(address, 80);
        let udp = net.server.udp(address, 23);
        let before = filter.counters();

        let blocked = net.client.dial(SocketAddr::new(address, 23));
        let mut there = net.client.dial(SocketAddr::new(address, 80)).connected();
        let mut here = accept(&web);
        there.write_all(b"GET /").expect("write");
        let mut request = [0; 5];
        here.read_exact(&mut request).expect("read");
        assert_eq!(&request, b"GET /");

        let datagram = net.client.udp_to(SocketAddr::new(address, 23));
        datagram.send(b"not TCP").expect("send");
        receive(&udp, 1);

        // The dropped SYN was sent before the other packets.
        eventually("a dropped packet", || {
            (filter.counters().dropped > before.dropped).then_some(())
        });
        assert!(
            !blocked.decided(),
            "{ip:?}: the connection to port 23 was established"
        );
        assert!(telnet.accept().is_err(), "{ip:?}: the SYN reached port 23");
        // A SYN, an ACK, a request and a datagram, and at some hooks the answers.
        let after = filter.counters();
        assert!(after.accepted >= before.accepted + 4, "{ip:?}: {after:?}");
        assert_eq!(after.packets, after.accepted + after.dropped);
        assert_eq!(after.traps, [0; 16]);
    }
}

fn accept_all_accepts() {
    let net = Net::pair();
    let spec = Spec::new("accept-all", wasm::example("accept-all.wat"));
    let spec = spec.at(hook(FAMILY_INET, HOOK_INPUT, 0));
    let filter = net.server.load(spec);
    for ip in BOTH {
        let address = net.server_address(ip);
        let telnet = net.server.tcp(address, 23);
        let dial = net.client.dial(SocketAddr::new(address, 23));
        dial.connected();
        accept(&telnet);
    }
    assert_eq!(filter.counters().dropped, 0);
}

fn drop_all_drops() {
    let net = Net::pair();
    let spec = Spec::new("drop-all", wasm::always(0)).at(hook(FAMILY_INET, HOOK_INPUT, 0));
    let filter = net.server.load(spec);
    for ip in BOTH {
        let address = net.server_address(ip);
        let telnet = net.server.tcp(address, 80);
        let before = filter.counters().dropped;
        let dial = net.client.dial(SocketAddr::new(address, 80));
        eventually("a dropped packet", || {
            (filter.counters().dropped > before).then_some(())
        });
        assert!(!dial.decided());
        assert!(telnet.accept().is_err());
    }
    assert_eq!(filter.counters().accepted, 0);
}

fn answers_from_port_23_pass() {
    let net = Net::pair();
    let spec = Spec::new("block-telnet", wasm::example(BLOCK_TELNET[0]));
    // The server's packets come from port 23. The filter checks only the destination port.
    let filter = net.server.load(spec.at(hook(FAMILY_INET, HOOK_OUTPUT, 0)));
    for ip in BOTH {
        let address = net.server_address(ip);
        let telnet = net.server.tcp(address, 23);
        net.client.dial(SocketAddr::new(address, 23)).connected();
        accept(&telnet);
    }
    assert_eq!(filter.counters().dropped, 0);
}
