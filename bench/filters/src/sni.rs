// SPDX-License-Identifier: GPL-2.0-only
//! Drops TLS handshakes for 1,000 names. Reads the server_name extension of a ClientHello that fits
//! into one segment.

use crate::names::{self, Suffix};
use nf_wasm_sdk::{protocol, Packet, Transport, Verdict};

const HTTPS: u16 = 443;
/// The content type of a record, and below it the type of a message.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// The maximum number of extensions that are read.
const EXTENSIONS: u32 = 32;
const SERVER_NAME: u16 = 0;

/// Fills the list. Returns 0, or 1 if the table is full.
pub fn init() -> i32 {
    i32::from(!names::fill())
}

/// The filter.
pub fn decide(packet: &Packet) -> Verdict {
    match server_name(packet) {
        Some(name) if is_listed(name) => Verdict::Drop,
        _ => Verdict::Accept,
    }
}

fn server_name<'a>(packet: &Packet<'a>) -> Option<&'a [u8]> {
    let Transport { protocol, offset } = packet.transport()?;
    if protocol != protocol::TCP || packet.u16(offset + 2)? != HTTPS {
        return None;
    }
    let record = offset + usize::from(packet.u8(offset + 12)? >> 4) * 4;
    // Skip the record header, the message header, the version and the random number.
    if packet.u8(record)? != HANDSHAKE || packet.u8(record + 5)? != CLIENT_HELLO {
        return None;
    }
    let mut at = record + 5 + 4 + 2 + 32;
    at += 1 + usize::from(packet.u8(at)?); // session
    at += 2 + usize::from(packet.u16(at)?); // cipher suites
    at += 1 + usize::from(packet.u8(at)?); // compression methods
    at += 2;
    for _ in 0..EXTENSIONS {
        let (kind, len) = (packet.u16(at)?, usize::from(packet.u16(at + 2)?));
        if kind == SERVER_NAME {
            // The list's length, the name's type, the name's length.
            let len = usize::from(packet.u16(at + 7)?);
            return packet.window.get(at + 9..at + 9 + len);
        }
        at += 4 + len;
    }
    None
}

fn is_listed(name: &[u8]) -> bool {
    let mut suffix = Suffix::EMPTY;
    for byte in name.iter().rev() {
        suffix.push(*byte);
    }
    suffix.is_listed()
}
