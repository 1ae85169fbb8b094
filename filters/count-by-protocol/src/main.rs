// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts packets by protocol and logs the counts after every hundredth packet. Needs `nfw.log`.
//!
//! Every CPU has its own instance. Each counts the packets of its CPU, and logs its own counts.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nf_wasm_sdk::log::Line;
use nf_wasm_sdk::{filter, protocol, Packet, Verdict};

const LOG_EVERY: u32 = 100;

static TCP: AtomicU32 = AtomicU32::new(0);
static UDP: AtomicU32 = AtomicU32::new(0);
static ICMP: AtomicU32 = AtomicU32::new(0);
static OTHER: AtomicU32 = AtomicU32::new(0);

filter!(count);

fn count(packet: &Packet) -> Verdict {
    let counter = match packet.transport().map(|transport| transport.protocol) {
        Some(protocol::TCP) => &TCP,
        Some(protocol::UDP) => &UDP,
        Some(protocol::ICMP | protocol::ICMPV6) => &ICMP,
        _ => &OTHER,
    };
    counter.fetch_add(1, Relaxed);

    let [tcp, udp, icmp, other] = [&TCP, &UDP, &ICMP, &OTHER].map(|count| count.load(Relaxed));
    let all = tcp.wrapping_add(udp).wrapping_add(icmp).wrapping_add(other);
    if all % LOG_EVERY == 0 {
        Line::default()
            .number(all)
            .text(" packets: tcp ")
            .number(tcp)
            .text(", udp ")
            .number(udp)
            .text(", icmp ")
            .number(icmp)
            .text(", other ")
            .number(other)
            .write();
    }
    Verdict::Accept
}
