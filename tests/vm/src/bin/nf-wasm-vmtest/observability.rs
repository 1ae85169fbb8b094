// SPDX-License-Identifier: GPL-2.0-only
//! Tracepoints, drop reasons and log lines.

use std::net::SocketAddr;

use nf_wasm_shared::abi::ioctl::{FAMILY_IPV4, HOOK_INPUT, STATE_QUARANTINED, TRAP_DROP};
use nf_wasm_tests::device::{hook, Spec};
use nf_wasm_tests::kernel::{self, Tracepoint};
use nf_wasm_tests::net::{Ip, Net};
use nf_wasm_tests::traffic::{receive, send};
use nf_wasm_tests::{eventually, wasm};

crate::tests![
    a_drop_names_its_cause_and_reason,
    each_verdict_is_traced,
    each_stage_of_a_load_is_traced,
    a_filter_logs_with_its_name,
    other_namespaces_are_heard_only_if_asked_for,
];

fn a_drop_names_its_cause_and_reason() {
    let net = Net::pair();
    let address = net.server_address(Ip::V4);
    let sender = net.client.udp_to(SocketAddr::new(address, 9));
    let endless = "(loop $for (br $for)) (unreachable)";
    for (function, wasm, quarantine) in [
        ("nf_wasm_drop_verdict", wasm::always(0), 0),
        ("nf_wasm_drop_trap", wasm::filter("", "(unreachable)"), 0),
        ("nf_wasm_drop_fuel", wasm::filter("", endless), 0),
        (
            "nf_wasm_drop_quarantine",
            wasm::filter("", "(unreachable)"),
            1,
        ),
    ] {
        let spec = Spec::new("drops", wasm).on_trap(TRAP_DROP);
        let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
        let filter = net.server.load(spec.quarantine(quarantine).at(place));
        if quarantine == 1 {
            // The filter traps once, on any CPU, and then is in quarantine.
            send(&sender, 1, 1);
            eventually("quarantine", || {
                (filter.entry().state == STATE_QUARANTINED).then_some(())
            });
        }
        let tracepoint = Tracepoint::on("skb/kfree_skb");
        send(&sender, 1, 1);
        let line = eventually("a traced drop", || {
            let mut lines = tracepoint.lines().into_iter();
            lines.find(|line| line.contains("nf_wasm_drop_"))
        });
        assert!(line.contains(function), "{line}");
        assert!(line.contains("NETFILTER_DROP"), "{line}");
    }
}

fn each_verdict_is_traced() {
    let net = Net::pair();
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    let sender = net.client.udp_to(SocketAddr::new(address, 9));
    let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
    let filter = net
        .server
        .load(Spec::new("traced", wasm::always(1)).at(place));
    let tracepoint = Tracepoint::on("nf_wasm/nf_wasm_verdict");
    send(&sender, 2, 10);
    receive(&socket, 2);
    filter.replace(&wasm::filter("", "(unreachable)"));
    send(&sender, 1, 10);
    receive(&socket, 1);
    let id = format!("filter={} ", filter.id());
    let lines = eventually("three traced verdicts", || {
        let mut lines = tracepoint.lines();
        lines.retain(|line| line.contains(&id));
        (lines.len() >= 3).then_some(lines)
    });
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in &lines {
        assert!(line.contains("verdict: "), "{line}");
        assert!(line.contains("verdict=accept"), "{line}");
        assert!(line.contains("len=38"), "{line}");
    }
    assert!(lines[0].contains("trap=-1"), "{lines:?}");
    assert!(lines[2].contains("trap=0"), "{lines:?}");
}

fn each_stage_of_a_load_is_traced() {
    let net = Net::pair();
    let tracepoint = Tracepoint::on("nf_wasm/nf_wasm_build");
    let filter = net.server.load(Spec::new("staged", wasm::always(1)));
    let instances = filter.entry().instances as usize;
    let said: Vec<String> = tracepoint
        .lines()
        .into_iter()
        .filter_map(|line| Some(line.split_once("filter=staged stage=")?.1.to_owned()))
        .collect();
    let mut stages = vec!["check", "translate", "instantiate", "ready"];
    // Only interpreted instances are copied by the engine.
    stages.extend(match filter.entry().compiled {
        0 => ["copy", "ready"].repeat(instances),
        _ => vec!["compile", "ready"],
    });
    assert_eq!(said, stages);
}

fn a_filter_logs_with_its_name() {
    let _heard = kernel::LogAll::namespaces();
    let net = Net::pair();
    let wasm = wasm::filter(
        r#"(import "nfw.log" "write" (func $log (param i32 i32) (result i32)))
           (data (i32.const 0) "hello\0a\1b[31m%s from a filter")"#,
        "(drop (call $log (i32.const 0) (i32.const 29))) (i32.const 1)",
    );
    let spec = Spec::new("talker", wasm).allow(nf_wasm_shared::abi::capability::LOG.bit);
    let _filter = net.server.load(spec.at(hook(FAMILY_IPV4, HOOK_INPUT, 0)));
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    // Without the rate limit there would be 500 lines.
    send(&net.client.udp_to(SocketAddr::new(address, 9)), 500, 1);
    receive(&socket, 500);
    let log = kernel::log();
    let lines = log.lines().filter(|line| line.contains("talker"));
    let said: Vec<&str> = lines.collect();
    assert!(!said.is_empty(), "{log}");
    assert!(said.len() < 100, "{} lines", said.len());
    assert!(said[0].contains("hello??[31m%s from a filter"), "{said:?}");
}

fn other_namespaces_are_heard_only_if_asked_for() {
    let net = Net::pair();
    let wasm = wasm::filter(
        r#"(import "nfw.log" "write" (func $log (param i32 i32) (result i32)))
           (data (i32.const 0) "is anybody there")"#,
        "(drop (call $log (i32.const 0) (i32.const 16))) (i32.const 1)",
    );
    let spec = Spec::new("whisperer", wasm).allow(nf_wasm_shared::abi::capability::LOG.bit);
    let _filter = net.server.load(spec.at(hook(FAMILY_IPV4, HOOK_INPUT, 0)));
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    let sender = net.client.udp_to(SocketAddr::new(address, 9));
    let said = || {
        send(&sender, 1, 1);
        receive(&socket, 1);
        kernel::log().contains("whisperer: is anybody there")
    };
    assert!(
        !said(),
        "logged although the namespace is not in the kernel log"
    );
    let heard = kernel::LogAll::namespaces();
    assert!(said(), "not heard");
    drop(heard);
}
