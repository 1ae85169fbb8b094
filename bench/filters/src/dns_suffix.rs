// SPDX-License-Identifier: GPL-2.0-only
//! Drops DNS queries for 1,000 names and for their subdomains.

use crate::names::{self, Suffix};
use nf_wasm_sdk::{protocol, Packet, Transport, Verdict};

const DNS: u16 = 53;
/// Bytes of the UDP and DNS headers.
const HEADERS: usize = 8 + 12;
/// The maximum number of labels that are compared, counted from the name's end.
const LABELS: usize = 16;

/// Fills the list. Returns 0, or 1 if the table is full.
pub fn init() -> i32 {
    i32::from(!names::fill())
}

/// The filter.
pub fn decide(packet: &Packet) -> Verdict {
    match packet.transport() {
        Some(Transport {
            protocol: protocol::UDP,
            offset,
        }) if packet.u16(offset + 2) == Some(DNS) => match packet.window.get(offset + HEADERS..) {
            Some(question) if is_listed(question) => Verdict::Drop,
            _ => Verdict::Accept,
        },
        _ => Verdict::Accept,
    }
}

/// Whether the question's name, or a parent domain of it, is on the list.
fn is_listed(question: &[u8]) -> bool {
    let mut starts = [0; LABELS];
    let mut labels = 0;
    let mut at = 0;
    loop {
        match question.get(at) {
            Some(0) => break,
            // 64 and above is a compression pointer. Questions do not need one.
            None | Some(64..) => return false,
            Some(len) => {
                starts[labels % LABELS] = at;
                labels += 1;
                at += 1 + usize::from(*len);
            }
        }
    }
    let mut suffix = Suffix::EMPTY;
    let mut end = at;
    for label in (labels.saturating_sub(LABELS)..labels).rev() {
        let start = starts[label % LABELS];
        let Some(bytes) = question.get(start + 1..end) else {
            return false;
        };
        if end != at {
            suffix.push(b'.');
        }
        for byte in bytes.iter().rev() {
            suffix.push(*byte);
        }
        // No name on the list has only one label.
        if end != at && suffix.is_listed() {
            return true;
        }
        end = start;
    }
    false
}
