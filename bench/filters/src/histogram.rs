// SPDX-License-Identifier: GPL-2.0-only
//! Drops UDP datagrams in which nine bytes in ten are equal. Needs a snaplen of 1,500.

use crate::State;
use nf_wasm_sdk::{Packet, Verdict};

static COUNTS: State<[u16; 256]> = State::new([0; 256]);

/// The filter.
pub fn decide(packet: &Packet) -> Verdict {
    let payload = || packet.window.get(packet.transport()?.offset + 8..);
    let Some(payload) = payload() else {
        return Verdict::Accept;
    };
    let most = COUNTS.with(|counts| {
        *counts = [0; 256];
        for byte in payload {
            counts[usize::from(*byte)] += 1;
        }
        counts.iter().copied().max().unwrap_or(0)
    });
    if usize::from(most) * 10 > payload.len() * 9 {
        return Verdict::Drop;
    }
    Verdict::Accept
}
