// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drops telnet: TCP to port 23. See `../README.md` for the corner cases.
#![no_std]
#![no_main]

use nf_wasm_sdk::{filter, manifest, protocol, NoTransport, Packet, Verdict};

const TELNET: u16 = 23;

filter!(block_telnet);
manifest!(snaplen = 64);

fn block_telnet(packet: &Packet) -> Verdict {
    match packet.find_transport() {
        Ok(transport) if transport.protocol == protocol::TCP => {}
        // The transport header may be beyond the window.
        Err(NoTransport::NotFound) => return Verdict::Drop,
        _ => return Verdict::Accept,
    }
    match packet.destination_port() {
        Some(port) if port != TELNET => Verdict::Accept,
        // Telnet, or a port that is not readable.
        _ => Verdict::Drop,
    }
}
