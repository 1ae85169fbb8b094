// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drops telnet: TCP to port 23. See `../README.md` for the corner cases.
#![no_std]
#![no_main]

use nf_wasm_sdk::{filter, manifest, protocol, Packet, Verdict};

const TELNET: u16 = 23;

filter!(block_telnet);
manifest!(snaplen = 64);

fn block_telnet(packet: &Packet) -> Verdict {
    match packet.transport() {
        Some(transport) if transport.protocol == protocol::TCP => {}
        _ => return Verdict::Accept,
    }
    match packet.destination_port() {
        Some(port) if port != TELNET => Verdict::Accept,
        // Telnet, or a port that cannot be seen.
        _ => Verdict::Drop,
    }
}
