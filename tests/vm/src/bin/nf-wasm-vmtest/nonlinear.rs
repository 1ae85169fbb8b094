// SPDX-License-Identifier: GPL-2.0-only
//! Packets in several pages: a filter reads the bytes that were sent.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nf_wasm_shared::abi::capability::PACKET;
use nf_wasm_shared::abi::ioctl::{
    FAMILY_IPV4, FAMILY_IPV6, FAMILY_NETDEV, HOOK_INGRESS, HOOK_INPUT, TRAP_DROP,
};
use nf_wasm_tests::device::{hook, netdev, Spec};
use nf_wasm_tests::net::{Ip, Net, BOTH};
use nf_wasm_tests::traffic::{accept, receive, send_one};
use nf_wasm_tests::wasm;
use nix::sys::sendfile::sendfile;

crate::tests![
    windows_of_large_datagrams,
    windows_of_sendfile_segments,
    loads_at_the_end_of_a_packet,
];

/// Accepts packets whose payload, after a header of `header` bytes, counts up modulo 251 from any
/// first byte. Checks the window and the loads through `nfw.packet`. 251 does not divide the size
/// of a page, so that swapped pages are noticed.
fn counts_up(header: u32) -> Vec<u8> {
    // The memory's first two pages receive what `nfw.packet` `load` copies. The window of up to
    // 65,535 bytes is after them.
    wasm::wat(&format!(
        r#"(module
  (import "nfw.packet" "load" (func $load (param i32 i32 i32) (result i32)))
  (import "nfw.packet" "len" (func $packet_len (result i32)))
  (memory (export "memory") 2)
  (func $counts_up (param $at i32) (param $end i32) (result i32)
    (loop $next
      (if (i32.ge_u (i32.add (local.get $at) (i32.const 1)) (local.get $end))
        (then (return (i32.const 1))))
      (if (i32.ne
            (i32.load8_u offset=1 (local.get $at))
            (i32.rem_u (i32.add (i32.load8_u (local.get $at)) (i32.const 1)) (i32.const 251)))
        (then (return (i32.const 0))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))
    (unreachable))
  (func (export "nfw_filter") (param $ctx i32) (param $pkt i32) (param $len i32) (result i32)
    (local $header i32)
    (local.set $header (i32.const {header}))
    (if (i32.ne (local.get $len) (i32.load offset=16 (local.get $ctx))) (then (unreachable)))
    (if (i32.ne (local.get $len) (call $packet_len)) (then (unreachable)))
    ;; Where the transport is TCP, its header says how long it is.
    (if (i32.eq (i32.load offset=28 (local.get $ctx)) (i32.const 6))
      (then
        (local.set $header (i32.load offset=24 (local.get $ctx)))
        (local.set $header (i32.add (local.get $header)
          (i32.shl (i32.shr_u
            (i32.load8_u offset=12 (i32.add (local.get $pkt) (local.get $header)))
            (i32.const 4)) (i32.const 2))))))
    ;; Loaded in two pieces that meet at an odd place.
    (if (i32.gt_u (local.get $len) (i32.const 1001))
      (then
        (drop (call $load (i32.const 0) (i32.const 0) (i32.const 1001)))
        (if (call $load (i32.const 1001) (i32.const 1001)
              (i32.sub (local.get $len) (i32.const 1001)))
          (then (unreachable))))
      (else
        (if (call $load (i32.const 0) (i32.const 0) (local.get $len)) (then (unreachable)))))
    (i32.and
      (call $counts_up (i32.add (local.get $pkt) (local.get $header))
                       (i32.add (local.get $pkt) (local.get $len)))
      (call $counts_up (local.get $header) (local.get $len)))))"#
    ))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn spec(header: u32) -> Spec {
    Spec::new("counts-up", counts_up(header))
        .allow(PACKET.bit)
        .snaplen(65_535)
        .fuel(10_000_000)
        .on_trap(TRAP_DROP)
}

fn windows_of_large_datagrams() {
    let net = Net::pair();
    let loopback = [
        (Ip::V4, "127.0.0.1", FAMILY_IPV4, 28),
        (Ip::V6, "::1", FAMILY_IPV6, 48),
    ];
    for (ip, address, family, header) in loopback {
        let place = hook(family, HOOK_INPUT, 0);
        let filter = net.server.load(spec(header).at(place));
        let address: std::net::IpAddr = address.parse().expect("an address");
        let socket = net.server.udp(address, 9);
        let sender = net.server.udp_to(SocketAddr::new(address, 9));
        // The last is the largest that fits the loopback device's MTU. It is in pages.
        for len in [0, 1, 100, 1472, 4000, 20_000, 65_000] {
            send_one(&sender, &pattern(len));
            receive(&socket, 1);
        }
        let counters = filter.counters();
        assert_eq!(counters.accepted, 7, "{ip:?}: {counters:?}");
        // The filter can also drop.
        send_one(&sender, &[7; 60_000]);
        assert_eq!(filter.counters().dropped, 1, "{ip:?}");
    }
}

fn windows_of_sendfile_segments() {
    const BYTES: usize = 251 * 1200;
    let path = "/tmp/nf-wasm-pattern";
    std::fs::write(path, pattern(BYTES)).expect("write");
    let net = Net::pair();
    for place in [
        hook(FAMILY_IPV4, HOOK_INPUT, 0),
        hook(FAMILY_IPV6, HOOK_INPUT, 0),
        netdev(HOOK_INGRESS, "to-client"),
    ] {
        for ip in BOTH {
            let filter = net.server.load(spec(0).at(place));
            let address = net.server_address(ip);
            let listener = net.server.tcp(address, 80);
            let stream = net.client.dial(SocketAddr::new(address, 80)).connected();
            let mut there = accept(&listener);
            let reader = std::thread::spawn(move || {
                let mut received = Vec::new();
                there.read_to_end(&mut received).expect("read");
                received
            });
            let file = File::open(path).expect("open");
            let mut left = BYTES;
            while left > 0 {
                left -= sendfile(stream.as_fd(), file.as_fd(), None, left).expect("sendfile");
            }
            drop(stream);
            let received = reader.join().expect("reader");
            assert!(received == pattern(BYTES), "other bytes came");
            let counters = filter.counters();
            assert_eq!(counters.dropped, 0, "{ip:?} {place:?}: {counters:?}");
            let own = match ip {
                Ip::V4 => FAMILY_IPV4,
                Ip::V6 => FAMILY_IPV6,
            };
            if place.family == own || place.family == FAMILY_NETDEV {
                // Segmentation is left to a device that does not segment: the packets are large.
                assert!(counters.bytes > BYTES as u64, "{counters:?}");
                assert!(counters.bytes > 1500 * counters.packets, "{counters:?}");
            }
        }
    }
    let _ = std::fs::remove_file(path);
}

fn loads_at_the_end_of_a_packet() {
    let net = Net::pair();
    // A window of 1 byte: the filter loads everything. A load beyond the end is EFAULT and writes
    // nothing.
    let wasm = wasm::filter(
        r#"(import "nfw.packet" "load" (func $load (param i32 i32 i32) (result i32)))"#,
        "(local.set $i (i32.load offset=16 (local.get $ctx)))
         (i32.store (i32.const 0) (i32.const 0x01020304))
         (if (i32.ne (call $load (local.get $i) (i32.const 0) (i32.const 1)) (i32.const -14))
           (then (return (i32.const 0))))
         (if (i32.ne (call $load (i32.sub (local.get $i) (i32.const 1)) (i32.const 0) (i32.const 2))
                     (i32.const -14))
           (then (return (i32.const 0))))
         (if (i32.ne (call $load (i32.const -1) (i32.const 0) (i32.const 2)) (i32.const -14))
           (then (return (i32.const 0))))
         (if (i32.ne (i32.load (i32.const 0)) (i32.const 0x01020304))
           (then (return (i32.const 0))))
         (if (call $load (local.get $i) (i32.const 0) (i32.const 0))
           (then (return (i32.const 0))))
         (if (call $load (i32.sub (local.get $i) (i32.const 1)) (i32.const 0) (i32.const 1))
           (then (return (i32.const 0))))
         (i32.eq (i32.load8_u (i32.const 0)) (i32.const 0xa7))",
    );
    let place = hook(FAMILY_IPV4, HOOK_INPUT, 0);
    let spec = Spec::new("end", wasm).allow(PACKET.bit).snaplen(1);
    let filter = net.server.load(spec.at(place).on_trap(TRAP_DROP));
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    let sender = net.client.udp_to(SocketAddr::new(address, 9));
    for len in [1, 50, 1400] {
        let mut payload = vec![0; len];
        payload[len - 1] = 0xa7;
        send_one(&sender, &payload);
        receive(&socket, 1);
    }
    assert_eq!(filter.counters().accepted, 3);
    // A load to memory outside the guest's: a trap.
    let wasm = wasm::filter(
        r#"(import "nfw.packet" "load" (func $load (param i32 i32 i32) (result i32)))"#,
        "(call $load (i32.const 0) (i32.const -8) (i32.const 16))",
    );
    filter.replace(&wasm);
    send_one(&sender, b"x");
    let counters = nf_wasm_tests::eventually("a trap", || {
        Some(filter.counters()).filter(|counters| counters.packets == 4)
    });
    assert_eq!(
        counters.traps[nf_wasm_shared::abi::trap::Trap::MemoryOutOfBounds as usize],
        1,
        "{counters:?}"
    );
}
