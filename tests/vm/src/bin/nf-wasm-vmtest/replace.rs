// SPDX-License-Identifier: GPL-2.0-only
//! Replaces programs under traffic: exactly one program decides each packet.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use nf_wasm_shared::abi::ioctl::{
    FAMILY_IPV4, HOOK_INPUT, HOOK_OUTPUT, HOOK_POSTROUTING, QUARANTINE_NEVER, TIER_INTERP,
};
use nf_wasm_tests::device::{hook, Device, Spec};
use nf_wasm_tests::net::{Ip, Net};
use nf_wasm_tests::traffic::{is_silent, pin_to_cpu, receive, send, send_one};
use nf_wasm_tests::{eventually, kernel, wasm};
use nix::errno::Errno;

crate::tests![
    no_packet_is_unaccounted,
    counters_id_and_attachments_stay,
    a_refused_replacement_changes_nothing,
    tables_are_free_while_an_old_program_is_waited_for,
];

const EVERY: u64 = 100;

/// Accepts datagrams whose first byte, modulo 2, is `parity`.
fn parity(parity: u32) -> Vec<u8> {
    wasm::filter(
        "",
        &format!(
            "(i32.eq (i32.and (i32.load8_u offset=28 (local.get $pkt)) (i32.const 1))
                     (i32.const {parity}))"
        ),
    )
}

/// Sends 100,000 packets, or fewer on a slow kernel, with a replacement every 100. It runs while
/// the next 100 are sent.
fn no_packet_is_unaccounted() {
    let packets = kernel::rounds(100_000, 1_500);
    let net = Net::pair();
    let address = IpAddr::from(Ipv4Addr::LOCALHOST);
    let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
    let filter = net.server.load(Spec::new("swapped", parity(0)).at(place));
    let socket = net.server.udp(address, 9);
    let sender = net.server.udp_to(SocketAddr::new(address, 9));
    let programs = [parity(1), parity(0)];

    // A queue of one: the sender waits for the replacer, but packets pass during a replacement.
    let (a_hundred_are_sent, hundreds) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        let server = &net.server;
        let id = filter.id();
        scope.spawn(move || {
            server.enter(|| {
                let device = Device::open();
                for (round, ()) in hundreds.into_iter().enumerate() {
                    let replaced = device.replace(id, &programs[round % 2]);
                    replaced.expect("replace");
                }
            });
        });
        for _ in 0..packets / EVERY {
            for number in 0..EVERY {
                send_one(&sender, &[number as u8]);
            }
            a_hundred_are_sent
                .send(())
                .expect("the replacing thread runs");
        }
        drop(a_hundred_are_sent);
    });
    eventually("all packets are counted", || {
        (filter.counters().packets == packets).then_some(())
    });
    // All accepted packets are queued in the socket.
    let mut received = 0;
    let mut buffer = [0; 64];
    let accepted = filter.counters().accepted;
    while received < accepted || !is_silent(&socket) {
        received += 1;
        socket.recv(&mut buffer).expect("an accepted packet");
    }

    let entry = filter.entry();
    let counters = entry.counters;
    assert_eq!(u64::from(entry.replaced), packets / EVERY);
    assert_eq!(counters.packets, packets);
    assert_eq!(counters.accepted + counters.dropped, packets);
    assert_eq!(counters.traps, [0; 16]);
    assert_eq!(counters.quarantined, 0);
    assert_eq!(counters.accepted, received);
    // Each program accepts half of the packets. The sums above show that exactly one decided each
    // packet.
    assert!(counters.accepted > 0 && counters.dropped > 0);
}

fn counters_id_and_attachments_stay() {
    let net = Net::pair();
    let place = hook(FAMILY_IPV4, HOOK_INPUT, 5);
    let filter = net
        .server
        .load(Spec::new("kept", wasm::always(1)).at(place));
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    let sender = net.client.udp_to(SocketAddr::new(address, 9));
    send(&sender, 3, 1);
    receive(&socket, 3);
    let before = filter.entry();
    let attachments = filter.attachments();
    filter.replace(&parity(0));
    let after = filter.entry();
    assert_eq!((after.id, after.name), (before.id, before.name));
    assert_eq!(after.counters, before.counters);
    assert_eq!(after.replaced, 1);
    assert_ne!(after.module_bytes, before.module_bytes);
    assert_eq!(filter.attachments(), attachments);
    // The payload is 0x5a, which is even.
    send(&sender, 2, 1);
    receive(&socket, 2);
    assert_eq!(filter.counters().accepted, 5);
}

fn a_refused_replacement_changes_nothing() {
    let net = Net::pair();
    let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
    let filter = net
        .server
        .load(Spec::new("kept", wasm::always(0)).at(place));
    let before = filter.entry();
    let ungranted = wasm::filter(
        r#"(import "nfw.mark" "get" (func $get (result i32)))"#,
        "(call $get)",
    );
    for (wasm, errno) in [
        (b"\0asm nonsense".to_vec(), Errno::ENOEXEC),
        (ungranted, Errno::EACCES),
    ] {
        let refused = net
            .server
            .enter(|| Device::open().replace(filter.id(), &wasm));
        assert_eq!(refused.expect_err("a bad module").errno, errno);
        assert_eq!(filter.entry(), before);
    }
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    send(&net.client.udp_to(SocketAddr::new(address, 9)), 1, 1);
    eventually("a drop", || (filter.counters().dropped == 1).then_some(()));
    assert!(is_silent(&socket));
}

/// While a packet is still in the old program, readers of the tables already see the new program.
/// One such reader is the device notifier, which holds RTNL.
fn tables_are_free_while_an_old_program_is_waited_for() {
    const ATTEMPTS: u32 = 20;
    if kernel::is_slow() {
        println!("skipped: on this kernel a build takes longer than a packet");
        return;
    }
    let net = Net::pair();
    let endless = wasm::endless();
    let spec = Spec::new("slow", endless.clone()).fuel(kernel::much_fuel());
    // The packet must take longer than a build: it is interpreted, in four attachments.
    let spec = spec.quarantine(QUARANTINE_NEVER).tier(TIER_INTERP);
    let at = |point, priority| hook(FAMILY_IPV4, point, priority);
    let spec = spec.at(at(HOOK_OUTPUT, 0)).at(at(HOOK_OUTPUT, 1));
    let spec = spec.at(at(HOOK_POSTROUTING, 0)).at(at(HOOK_POSTROUTING, 1));
    let filter = net.server.load(spec);
    let to = SocketAddr::new(net.client_address(Ip::V4), 9);
    let _receiver = net.client.udp(to.ip(), 9);
    let sender = net.server.udp_to(to);
    for attempt in 1..=ATTEMPTS {
        let (begun, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let was_free = thread::scope(|scope| {
            scope.spawn(|| {
                pin_to_cpu(1);
                begun.store(true, Ordering::Release);
                send(&sender, 1, 64);
                done.store(true, Ordering::Release);
            });
            while !begun.load(Ordering::Acquire) {
                thread::yield_now();
            }
            // The packet enters the filter during this build.
            scope.spawn(|| filter.replace(&endless));
            eventually("the replacement", || {
                (filter.entry().replaced == attempt).then_some(())
            });
            !done.load(Ordering::Acquire)
        });
        if was_free {
            return;
        }
    }
    panic!("in {ATTEMPTS} attempts the packet always ended before the tables were readable");
}
