// SPDX-License-Identifier: GPL-2.0-only
//! Tests `nfwasm` with the kernel module inserted. `userspace-loader/tests` has the other tests.

use std::net::SocketAddr;

use nf_wasm_tests::net::{Ip, Net};
use nf_wasm_tests::traffic::{receive, send};
use nf_wasm_tests::FILTERS;

crate::tests![
    info_names_version_limits_and_capabilities,
    load_list_replace_unload,
    refusals_have_their_exit_status,
    run_executes_in_the_kernel,
    an_empty_list_is_json,
];

fn file(name: &str) -> String {
    format!("{FILTERS}/{name}")
}

fn info_names_version_limits_and_capabilities() {
    let net = Net::pair();
    let answer = net.server.nfwasm(&["info"]);
    assert_eq!(answer.status, 0, "{answer:?}");
    for word in [
        "0.1.0",
        "nfw.packet",
        "nfw.log",
        "nfw.clock",
        "nfw.mark",
        "4096",
    ] {
        assert!(answer.stdout.contains(word), "{word}: {answer:?}");
    }
    let json = net.server.nfwasm_json(&["info"]);
    assert!(json["schema"].is_number(), "{json}");
}

fn load_list_replace_unload() {
    let net = Net::pair();
    let server = &net.server;
    let json = server.nfwasm_json(&[
        "load",
        &file("block-telnet.wasm"),
        "--attach",
        "inet:input",
        "--attach",
        "netdev:ingress@to-client",
    ]);
    assert!(json["schema"].is_number(), "{json}");
    let listed = server.filters();
    assert_eq!(listed.len(), 1);
    assert_eq!(server.attachments().len(), 2);
    let id = listed[0].id.to_string();
    assert!(json.to_string().contains(&id), "{json}");

    let address = net.server_address(Ip::V4);
    let socket = server.udp(address, 9);
    send(&net.client.udp_to(SocketAddr::new(address, 9)), 3, 1);
    receive(&socket, 3);
    let list = server.nfwasm(&["list"]);
    assert_eq!(list.status, 0, "{list:?}");
    assert!(list.stdout.contains("block-telnet"), "{list:?}");

    // By name and by id, with text and with a binary.
    let answer = server.nfwasm(&["replace", "block-telnet", &file("block-telnet.wat")]);
    assert_eq!(answer.status, 0, "{answer:?}");
    let answer = server.nfwasm(&["replace", &id, &file("accept-all.wat")]);
    assert_eq!(answer.status, 0, "{answer:?}");
    let entry = server.filters()[0];
    assert_eq!(entry.replaced, 2);
    assert_eq!(entry.counters.accepted, 6);
    for words in [["show", &id], ["stats", &id], ["unload", &id]] {
        let answer = server.nfwasm(&words);
        assert_eq!(answer.status, 0, "{words:?}: {answer:?}");
    }
    assert_eq!(server.filters(), []);
}

fn refusals_have_their_exit_status() {
    let net = Net::pair();
    let server = &net.server;
    let telnet = file("block-telnet.wasm");
    assert_eq!(server.nfwasm(&["load", &telnet]).status, 0);
    // The name is taken.
    let answer = server.nfwasm(&["load", &telnet]);
    assert_eq!(answer.status, 4, "{answer:?}");
    assert!(answer.stderr.contains("taken"), "{answer:?}");
    // The filter needs a capability.
    let count = file("count-by-protocol.wasm");
    let answer = server.nfwasm(&["load", &count]);
    assert_eq!(answer.status, 4, "{answer:?}");
    assert!(answer.stderr.contains("--allow nfw.log"), "{answer:?}");
    // No such device.
    let answer = server.nfwasm(&["attach", "block-telnet", "netdev:ingress@nowhere0"]);
    assert_eq!(answer.status, 4, "{answer:?}");
    assert!(answer.stderr.contains("nowhere0"), "{answer:?}");
    // Wrong usage.
    let answer = server.nfwasm(&["load", &telnet, "--attach", "inet:nowhere"]);
    assert_eq!(answer.status, 2, "{answer:?}");
    assert_eq!(server.filters().len(), 1);
    assert_eq!(server.nfwasm(&["unload", "block-telnet"]).status, 0);
}

fn run_executes_in_the_kernel() {
    let net = Net::pair();
    // An IPv4 header, then a TCP header with port 23.
    let header = "450000280000000040060000 0a000001 0a000002";
    let telnet = format!("{header} 9c400017 00000000 00000000 50020000 00000000").replace(' ', "");
    for (name, verdict) in [("block-telnet.wasm", "drop"), ("accept-all.wat", "accept")] {
        let answer = net
            .server
            .nfwasm(&["run", &file(name), "--packet", &telnet]);
        assert_eq!(answer.status, 0, "{answer:?}");
        let said = answer.stdout.to_lowercase();
        assert!(said.contains(verdict), "{name}: {answer:?}");
    }
    assert_eq!(net.server.filters(), []);
}

fn an_empty_list_is_json() {
    let net = Net::pair();
    let json = net.server.nfwasm_json(&["list"]);
    assert!(json["schema"].is_number(), "{json}");
}
