// SPDX-License-Identifier: GPL-2.0-only
//! Lets each source send 10,000 packets a second, and bursts of a thousand.

use crate::{State, Table};
use nf_wasm_sdk::{clock, Packet, Verdict};

/// Nanoseconds that a packet takes.
const PACKET: u64 = 100_000;
/// Nanoseconds that a source can save up.
const BURST: u64 = 1_000 * PACKET;

/// When each source will have used up what it has, in nanoseconds of the monotonic clock.
static SOURCES: State<Table<u32, u64, 4096>> = State::new(Table::new());

/// The filter.
pub fn decide(packet: &Packet) -> Verdict {
    let Some(source) = packet.u32(12) else {
        return Verdict::Accept;
    };
    let now = clock::monotonic();
    SOURCES.with(|sources| match sources.get(source, source) {
        Some(until) => {
            let next = (*until).max(now) + PACKET;
            if next > now + BURST {
                return Verdict::Drop;
            }
            *until = next;
            Verdict::Accept
        }
        // More sources than there is room for are not limited.
        None => {
            sources.insert(source, source, now + PACKET);
            Verdict::Accept
        }
    })
}
