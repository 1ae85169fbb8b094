// SPDX-License-Identifier: GPL-2.0-only
//! At which hooks, in which order and in which namespaces filters run.

use std::net::SocketAddr;

use nf_wasm_shared::abi::capability::MARK;
use nf_wasm_shared::abi::ioctl::{
    FAMILY_INET, FAMILY_IPV4, FAMILY_IPV6, HOOK_EGRESS, HOOK_INGRESS, HOOK_INPUT, HOOK_OUTPUT,
    HOOK_PREROUTING, NF_WASM_UNLOAD, QUARANTINE_NEVER,
};
use nf_wasm_shared::abi::limits::{DEFAULT_FUEL, HOOK_FUEL, MAX_FUEL};
use nf_wasm_tests::device::{hook, netdev, text, Device, Refused, Spec};
use nf_wasm_tests::net::{Ip, Net, BOTH};
use nf_wasm_tests::traffic::{is_silent, receive, send};
use nf_wasm_tests::{eventually, wasm};
use nix::errno::Errno;

crate::tests![
    priorities_order_filters,
    any_priority_will_do,
    namespaces_are_apart,
    families_are_apart,
    attach_and_detach,
    the_same_place_twice_is_refused,
    all_or_no_attachments,
    the_context_tells_the_place,
    no_attachment_survives_its_device,
    no_attachment_survives_its_filter,
    an_attachment_stays_on_a_renamed_device,
    packets_in_a_hook_that_half_failed_are_waited_for,
    a_hundred_attachments_are_waited_for_at_once,
    fuel_at_a_hook_is_bounded,
    a_replacement_may_not_bring_too_much_fuel,
    a_template_of_conntrack_is_no_connection,
];

/// Appends `digit` to the packet's mark.
fn append(digit: u32) -> Vec<u8> {
    wasm::filter(
        r#"(import "nfw.mark" "get" (func $get (result i32)))
           (import "nfw.mark" "set" (func $set (param i32) (result i32)))"#,
        &format!(
            "(drop (call $set (i32.add (i32.mul (call $get) (i32.const 10)) (i32.const {digit}))))
             (i32.const 1)"
        ),
    )
}

/// Drops packets with another mark.
fn require(mark: u32) -> Vec<u8> {
    wasm::filter(
        r#"(import "nfw.mark" "get" (func $get (result i32)))"#,
        &format!("(i32.eq (call $get) (i32.const {mark}))"),
    )
}

fn priorities_order_filters() {
    let net = Net::pair();
    let server = &net.server;
    let at = |priority| hook(FAMILY_INET, HOOK_INPUT, priority);
    let load = |name: &str, wasm, priority| {
        server.load(Spec::new(name, wasm).allow(MARK.bit).at(at(priority)))
    };
    // Loaded in another order than their priorities.
    let last = load("last", require(1234), 300);
    let _third = load("third", append(3), 1);
    let _first = load("first", append(1), -2_000_000);
    let _fourth = load("fourth", append(4), 299);
    let _second = load("second", append(2), 0);
    for ip in BOTH {
        let address = net.server_address(ip);
        let socket = server.udp(address, 9);
        send(&net.client.udp_to(SocketAddr::new(address, 9)), 5, 10);
        receive(&socket, 5);
    }
    assert_eq!(last.counters().accepted, 10);
    assert_eq!(last.counters().dropped, 0);
}

fn any_priority_will_do() {
    let net = Net::pair();
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    let sender = net.client.udp_to(SocketAddr::new(address, 9));
    for priority in [i32::MIN, -1, 0, 1, i32::MAX] {
        let place = hook(FAMILY_IPV4, HOOK_INPUT, priority);
        let filter = net.server.load(Spec::new("any", wasm::always(1)).at(place));
        assert_eq!(filter.attachments()[0].hook.priority, priority);
        send(&sender, 1, 1);
        receive(&socket, 1);
        assert_eq!(filter.counters().packets, 1, "priority {priority}");
    }
}

fn namespaces_are_apart() {
    let net = Net::pair();
    let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
    // A filter with the same name in another namespace, with the opposite verdict.
    let client = net.client.load(Spec::new("one", wasm::always(0)).at(place));
    let server = net.server.load(Spec::new("one", wasm::always(1)).at(place));
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    send(&net.client.udp_to(SocketAddr::new(address, 9)), 7, 10);
    receive(&socket, 7);
    assert_eq!(client.counters().packets, 0);
    assert_eq!(server.counters().accepted, 7);
    assert_eq!(net.client.filters().len(), 1);
    assert_eq!(net.server.filters().len(), 1);
    server.unload();
    assert_eq!(net.client.filters().len(), 1);
    assert_eq!(net.server.filters().len(), 0);
}

fn families_are_apart() {
    let net = Net::pair();
    for (family, counted) in [
        (FAMILY_IPV4, [3, 0]),
        (FAMILY_IPV6, [0, 3]),
        (FAMILY_INET, [3, 3]),
    ] {
        let place = hook(family, HOOK_INPUT, 0);
        let filter = net
            .server
            .load(Spec::new("family", wasm::always(1)).at(place));
        let mut before = 0;
        for (ip, counted) in BOTH.into_iter().zip(counted) {
            let address = net.server_address(ip);
            let socket = net.server.udp(address, 9);
            send(&net.client.udp_to(SocketAddr::new(address, 9)), 3, 1);
            receive(&socket, 3);
            let packets = filter.counters().packets;
            assert_eq!(packets - before, counted, "family {family}, {ip:?}");
            before = packets;
        }
    }
}

fn attach_and_detach() {
    let net = Net::pair();
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    let sender = net.client.udp_to(SocketAddr::new(address, 9));
    let filter = net.server.load(Spec::new("f", wasm::always(0)));
    assert_eq!(filter.attachments().len(), 0);
    send(&sender, 1, 1);
    receive(&socket, 1);

    let attached = filter.attach(hook(FAMILY_IPV4, HOOK_INPUT, 7));
    let attached = attached.expect("attach");
    let [entry] = filter.attachments()[..] else {
        panic!("one attachment")
    };
    assert_eq!((entry.id, entry.hook.priority), (attached, 7));
    send(&sender, 4, 1);
    eventually("four drops", || {
        (filter.counters().dropped == 4).then_some(())
    });
    assert!(is_silent(&socket));
    assert_eq!(filter.attachments()[0].counters.dropped, 4);

    filter.detach(attached).expect("detach");
    send(&sender, 1, 1);
    receive(&socket, 1);
    assert_eq!(filter.attachments().len(), 0);
    // The filter keeps the counts of its past attachments.
    assert_eq!(filter.counters().dropped, 4);
    let refused = filter.detach(attached).expect_err("already detached");
    assert_eq!(refused.errno, Errno::ENOENT);
}

fn the_same_place_twice_is_refused() {
    let net = Net::pair();
    let place = hook(FAMILY_INET, HOOK_INPUT, 0);
    let filter = net.server.load(Spec::new("f", wasm::always(1)).at(place));
    let refused = filter.attach(place).expect_err("already attached");
    assert_eq!(refused.errno, Errno::EEXIST);
    assert!(refused.text.contains("already"), "{refused}");
    filter
        .attach(hook(FAMILY_INET, HOOK_INPUT, 1))
        .expect("another priority");
    assert_eq!(filter.attachments().len(), 2);
}

fn all_or_no_attachments() {
    let net = Net::pair();
    let spec = Spec::new("f", wasm::always(1))
        .at(hook(FAMILY_INET, HOOK_INPUT, 0))
        .at(netdev(HOOK_INGRESS, "no-such-device"));
    let refused = net.server.try_load(&spec).expect_err("no such device");
    assert_eq!(refused.errno, Errno::ENODEV);
    assert!(refused.text.contains("no-such-device"), "{refused}");
    assert_eq!(net.server.filters().len(), 0);
    assert_eq!(net.server.attachments().len(), 0);
}

/// A filter that accepts if the context has these values at these offsets.
fn context_is(expected: &[(u32, u32)]) -> Vec<u8> {
    let checks = expected.iter().map(|(offset, value)| {
        format!(
            "(if (i32.ne (i32.load offset={offset} (local.get $ctx)) (i32.const {value}))
               (then (return (i32.const 0))))"
        )
    });
    wasm::filter("", &format!("{} (i32.const 1)", checks.collect::<String>()))
}

fn the_context_tells_the_place() {
    let net = Net::pair();
    let device = net.server.ifindex("to-client");
    let cases = [
        (Ip::V4, HOOK_INPUT, 2, 20),
        (Ip::V4, HOOK_PREROUTING, 2, 20),
        (Ip::V6, HOOK_INPUT, 10, 40),
    ];
    for (ip, hook_number, family, header) in cases {
        let filter = context_is(&[
            (0, 1),             // version
            (4, 48),            // size
            (8, hook_number),   // hook
            (12, family),       // family
            (16, header + 108), // packet_len
            (20, 64),           // window_len
            (24, header),       // transport_offset
            (28, 17),           // transport_protocol
            (32, device),       // in_ifindex
            (36, 0),            // out_ifindex
            (40, 0),            // mark
            (44, 0),            // conntrack_state
        ]);
        let spec = Spec::new("context", filter).snaplen(64);
        let own_family = if ip == Ip::V4 {
            FAMILY_IPV4
        } else {
            FAMILY_IPV6
        };
        let _filter = net.server.load(spec.at(hook(own_family, hook_number, 0)));
        let address = net.server_address(ip);
        let socket = net.server.udp(address, 9);
        send(&net.client.udp_to(SocketAddr::new(address, 9)), 2, 100);
        receive(&socket, 2);
    }
}

fn an_attachment_stays_on_a_renamed_device() {
    let net = Net::pair();
    let filter = net
        .server
        .load(Spec::new("f", wasm::always(1)).at(netdev(HOOK_INGRESS, "to-client")));
    let [before] = filter.attachments()[..] else {
        panic!("one attachment")
    };
    let flood = net
        .client
        .flood(SocketAddr::new(net.server_address(Ip::V4), 9));
    flood.wait_for(50);
    for name in ["renamed", "renamed-again"] {
        let old = text(&filter.attachments()[0].hook.device);
        net.server.ip(&format!("link set {old} down"));
        net.server.ip(&format!("link set {old} name {name}"));
        net.server.ip(&format!("link set {name} up"));
        let [entry] = filter.attachments()[..] else {
            panic!("one attachment")
        };
        assert_eq!(text(&entry.hook.device), name);
        assert_eq!((entry.id, entry.ifindex), (before.id, before.ifindex));
        let counted = filter.counters().packets;
        eventually("packets are decided", || {
            (filter.counters().packets > counted + 50).then_some(())
        });
        // An attachment is bound to the device, not to its name.
        let refused = filter.attach(netdev(HOOK_INGRESS, &old));
        assert_eq!(refused.expect_err("the old name").errno, Errno::ENODEV);
        let refused = filter.attach(netdev(HOOK_INGRESS, name));
        assert_eq!(refused.expect_err("there already").errno, Errno::EEXIST);
    }
}

fn no_attachment_survives_its_device() {
    let net = Net::pair();
    let filter = net.server.load(
        Spec::new("f", wasm::always(1))
            .at(netdev(HOOK_INGRESS, "to-client"))
            .at(hook(FAMILY_INET, HOOK_INPUT, 0)),
    );
    let address = net.server_address(Ip::V4);
    let flood = net.client.flood(SocketAddr::new(address, 9));
    flood.wait_for(200);
    let counted = filter.counters().packets;
    assert!(counted > 0);
    net.server.ip("link delete to-client");
    assert!(
        filter.counters().packets >= counted,
        "counters do not go back"
    );
    let [left] = filter.attachments()[..] else {
        panic!("expected one attachment")
    };
    assert_eq!(left.hook.family, FAMILY_INET);
    assert_eq!(text(&filter.entry().name), "f");
    // A new device with the old name is a different device.
    let refused = filter.attach(netdev(HOOK_INGRESS, "to-client"));
    assert_eq!(refused.expect_err("it is gone").errno, Errno::ENODEV);
}

/// An attachment is prepared with the tables unlocked, so the filter may be unloaded meanwhile.
fn no_attachment_survives_its_filter() {
    const UNLOADS: usize = 10;
    const MAX_ATTACHMENTS: i32 = 400;
    let net = Net::pair();
    let spec = Spec::new("goes", wasm::always(1)).fuel(10_000);
    net.server.enter(|| {
        let device = Device::open();
        for _ in 0..UNLOADS {
            let id = device.load(&spec).expect("load");
            let begun = std::sync::Barrier::new(2);
            let refused = std::thread::scope(|scope| {
                let attaching = scope.spawn(|| {
                    let device = Device::open();
                    begun.wait();
                    let places = (0..MAX_ATTACHMENTS)
                        .map(|priority| hook(FAMILY_INET, HOOK_INPUT, priority));
                    places.map(|it| device.attach(id, it)).find_map(Result::err)
                });
                begun.wait();
                device.select(NF_WASM_UNLOAD, id).expect("unload");
                attaching.join().expect("attach")
            });
            // The unload comes before the last attach, or after it.
            if let Some(refused) = refused {
                assert_eq!(refused.errno, Errno::ENOENT, "{refused}");
            }
            assert_eq!(device.attachments().expect("list"), []);
        }
    });
}

/// Registers inet's output hook: first for IPv4, then for IPv6, which fails because that hook is
/// full, so that IPv4's is unregistered. Packets that are inside by then must be waited for. That
/// packets are counted shows that some were inside.
fn packets_in_a_hook_that_half_failed_are_waited_for() {
    const NETFILTER_MAX_HOOKS: usize = 1024;
    const ATTEMPTS: usize = 500;
    const LOADS: usize = 10;
    let net = Net::pair();
    let chain = |n| format!("chain c{n} {{ type filter hook output priority 0; }}");
    let chains: Vec<_> = (0..NETFILTER_MAX_HOOKS).map(chain).collect();
    net.server
        .nft(&format!("table ip6 full {{\n{}\n}}", chains.join("\n")));
    let place = hook(FAMILY_INET, HOOK_OUTPUT, 0);
    let spec = |name| {
        let spec = Spec::new(name, wasm::endless()).fuel(200_000);
        spec.quarantine(QUARANTINE_NEVER)
    };
    let filter = net.server.load(spec("slow"));
    let flood = net
        .server
        .flood_on_cpu(SocketAddr::from(([127, 0, 0, 1], 9)), 1);
    flood.wait_for(50);
    // A load that fails also frees the filter and its code.
    for _ in 0..LOADS {
        let refused = net.server.try_load(&spec("gone").at(place));
        let refused = refused.expect_err("the hook of IPv6 is full");
        assert_eq!(refused.errno, Errno::ENOSPC, "{refused}");
    }
    for _ in 0..ATTEMPTS {
        let refused = filter.attach(place).expect_err("the hook of IPv6 is full");
        assert_eq!(refused.errno, Errno::ENOSPC, "{refused}");
        assert_eq!(net.server.attachments(), []);
        if filter.counters().packets > 0 {
            return;
        }
    }
    panic!("no packet was counted in {ATTEMPTS} attempts");
}

/// How often this thread has blocked so far.
fn waits() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count
        .and_then(|count| count.trim().parse().ok())
        .expect("a number of context switches")
}

fn a_hundred_attachments_are_waited_for_at_once() {
    const ATTACHMENTS: u64 = 100;
    let net = Net::pair();
    let mut spec = Spec::new("everywhere", wasm::always(1));
    for priority in 0..ATTACHMENTS {
        spec = spec.at(hook(FAMILY_INET, HOOK_INPUT, priority as i32));
    }
    let waited = net.server.enter(|| {
        let device = Device::open();
        let id = device.load(&spec).expect("load");
        let before = waits();
        device.select(NF_WASM_UNLOAD, id).expect("unload");
        waits() - before
    });
    assert!(waited < ATTACHMENTS / 2, "waited {waited} times");
}

#[track_caller]
fn assert_too_much_fuel(refused: Refused, sum: u64) {
    assert_eq!(refused.errno, Errno::ENOSPC, "{refused}");
    for number in [sum, HOOK_FUEL] {
        assert!(refused.text.contains(&number.to_string()), "{refused}");
    }
}

fn fuel_at_a_hook_is_bounded() {
    let net = Net::pair();
    let server = &net.server;
    let input = |family| hook(family, HOOK_INPUT, 0);
    let spec = |name: &str, fuel| Spec::new(name, wasm::always(1)).fuel(fuel);
    let info = Device::open().info().expect("info");
    assert_eq!(info.max_hook_fuel, HOOK_FUEL);

    // The full budget of an IPv4 packet. An IPv6 packet runs only the first filter.
    let _both = server.load(spec("both", MAX_FUEL).at(input(FAMILY_INET)));
    let four = spec("four", HOOK_FUEL - MAX_FUEL).at(input(FAMILY_IPV4));
    let four = server.load(four);
    let small = server.load(spec("small", 1));
    for family in [FAMILY_IPV4, FAMILY_INET] {
        let refused = small.attach(input(family)).expect_err("one unit too much");
        assert_too_much_fuel(refused, HOOK_FUEL + 1);
        let refused = server.try_load(&spec("more", 0).at(input(family)));
        assert_too_much_fuel(refused.expect_err("too much"), HOOK_FUEL + DEFAULT_FUEL);
    }
    assert_eq!(server.attachments().len(), 2);
    assert_eq!(server.filters().len(), 3);
    // Other families, other hooks and other namespaces have their own budgets.
    small.attach(input(FAMILY_IPV6)).expect("IPv6");
    let output = hook(FAMILY_INET, HOOK_OUTPUT, 0);
    small.attach(output).expect("another hook");
    let there = net.client.load(spec("there", 1).at(input(FAMILY_IPV4)));
    there.unload();
    // A detach frees fuel at this hook.
    let [attachment] = four.attachments()[..] else {
        panic!("one attachment");
    };
    four.detach(attachment.id).expect("detach");
    small
        .attach(input(FAMILY_IPV4))
        .expect("enough fuel is free");

    // Each device has its own budget, and each direction too. All attachments of a load count.
    let ingress = |priority| {
        let mut place = netdev(HOOK_INGRESS, "to-client");
        place.priority = priority;
        place
    };
    let thrice = spec("thrice", MAX_FUEL)
        .at(ingress(0))
        .at(ingress(1))
        .at(ingress(2));
    let refused = server.try_load(&thrice).expect_err("too much");
    assert_too_much_fuel(refused, 3 * MAX_FUEL);
    let twice = spec("twice", MAX_FUEL)
        .at(ingress(0))
        .at(ingress(1))
        .at(netdev(HOOK_INGRESS, "lo"))
        .at(netdev(HOOK_EGRESS, "to-client"));
    server.load(twice).unload();
}

fn a_replacement_may_not_bring_too_much_fuel() {
    let net = Net::pair();
    let server = &net.server;
    let at = |priority| hook(FAMILY_INET, HOOK_INPUT, priority);
    let wasm = wasm::always(1);
    let replace = |id, fuel| server.enter(|| Device::open().replace_with_fuel(id, &wasm, fuel));
    let twice = Spec::new("twice", wasm.clone()).fuel(1).at(at(0)).at(at(1));
    let twice = server.load(twice);
    let _other = server.load(Spec::new("other", wasm.clone()).fuel(MAX_FUEL).at(at(0)));
    let most = (HOOK_FUEL - MAX_FUEL) / 2;
    let refused = replace(twice.id(), most + 1).expect_err("too much");
    assert_too_much_fuel(refused, HOOK_FUEL + 2);
    let entry = twice.entry();
    assert_eq!((entry.fuel, entry.replaced), (1, 0));
    replace(twice.id(), most).expect("the maximum");
    replace(twice.id(), most).expect("as much as before");
    replace(twice.id(), 1).expect("less");
}

fn a_template_of_conntrack_is_no_connection() {
    let net = Net::pair();
    if !net.server.try_nft(
        "table ip zones {
            chain before { type filter hook output priority -300; ct zone set 7; }
         }",
    ) {
        println!("skipped: this kernel has no conntrack zones");
        return;
    }
    // Connection tracking runs at priority -200.
    let state_is = |name: &str, state, priority| {
        let spec = Spec::new(name, context_is(&[(44, state)]));
        let place = hook(FAMILY_IPV4, HOOK_OUTPUT, priority);
        net.server.load(spec.at(place))
    };
    let before = state_is("before", 0, -250);
    let after = state_is("after", 3, -150);
    let to = SocketAddr::new(net.client_address(Ip::V4), 9);
    let socket = net.client.udp(to.ip(), 9);
    send(&net.server.udp_to(to), 1, 1);
    assert_eq!(before.counters().accepted, 1, "the packet has a template");
    assert_eq!(after.counters().accepted, 1, "the packet has a connection");
    receive(&socket, 1);
}
