// SPDX-License-Identifier: GPL-2.0-only
//! Drops DNS queries for 1,000 names and all that ends in one of them.

use crate::names::{self, Suffix};
use nf_wasm_sdk::{protocol, Packet, Transport, Verdict};

const DNS: u16 = 53;
/// Bytes of the headers of UDP and DNS.
const HEADERS: usize = 8 + 12;
/// Most labels of a name that are looked at, from its end on.
const LABELS: usize = 16;

/// Fills the list. Returns 0, or 1 if it has no room.
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

/// Whether the question's name, or what it ends in after a dot, is on the list.
fn is_listed(question: &[u8]) -> bool {
    let mut starts = [0; LABELS];
    let mut labels = 0;
    let mut at = 0;
    loop {
        match question.get(at) {
            Some(0) => break,
            // A compressed name, which a question has no reason for.
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
        // No name on the list has one label.
        if end != at && suffix.is_listed() {
            return true;
        }
        end = start;
    }
    false
}
