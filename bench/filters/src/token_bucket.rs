// SPDX-License-Identifier: GPL-2.0-only
//! Limits each source to 10,000 packets a second, with bursts of 1,000.

use crate::{State, Table};
use nf_wasm_sdk::{clock, Packet, Verdict};

/// Nanoseconds between two packets at the limit.
const PACKET: u64 = 100_000;
/// Nanoseconds of credit that a source can accumulate.
const BURST: u64 = 1_000 * PACKET;

/// When each source's bucket is full again, in nanoseconds of the monotonic clock.
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
        // A source for which the table has no free slot is not limited.
        None => {
            sources.insert(source, source, now + PACKET);
            Verdict::Accept
        }
    })
}
