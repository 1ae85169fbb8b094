// SPDX-License-Identifier: GPL-2.0-only
//! Lists of networks.
//!
//! The shortest prefix is a /16. The networks of one /16 are adjacent and few. An index with an
//! entry for each /16 says where they begin.

use crate::State;
use nf_wasm_bench_traffic::tables::prefix;
use nf_wasm_sdk::{Packet, Verdict};

/// The maximum number of networks of a list.
const MAX_PREFIXES: usize = 10_000;

/// A list of networks.
struct List {
    /// Where the networks of each /16 begin. They end where those of the next /16 begin.
    starts: [u16; 65_537],
    /// The address and the mask of each network.
    networks: [(u32, u32); MAX_PREFIXES],
}

static LIST: State<List> = State::new(List {
    starts: [0; 65_537],
    networks: [(0, 0); MAX_PREFIXES],
});

/// Fills the list with the first `count` networks. Returns 0.
pub fn init(count: u32) -> i32 {
    LIST.with(|list| {
        for (address, _) in (0..count).map(prefix) {
            list.starts[(address >> 16) as usize + 1] += 1;
        }
        for row in 1..list.starts.len() {
            list.starts[row] += list.starts[row - 1];
        }
        // While the list is filled, each entry says where the next network of its /16 goes. At the
        // end it says where the next /16 begins.
        for (address, bits) in (0..count).map(prefix) {
            let next = &mut list.starts[(address >> 16) as usize];
            list.networks[usize::from(*next)] = (address, u32::MAX << (32 - u32::from(bits)));
            *next += 1;
        }
        list.starts.copy_within(0..65_536, 1);
        list.starts[0] = 0;
    });
    0
}

/// The filter: drops packets from the list's networks.
pub fn decide(packet: &Packet) -> Verdict {
    match packet.u32(12) {
        Some(source) if contain(source) => Verdict::Drop,
        _ => Verdict::Accept,
    }
}

/// Whether `address` is in one of the networks.
#[inline]
fn contain(address: u32) -> bool {
    LIST.with(|list| {
        let row = (address >> 16) as usize;
        let (from, to) = (list.starts[row], list.starts[row + 1]);
        list.networks[usize::from(from)..usize::from(to)]
            .iter()
            .any(|(network, mask)| address & mask == *network)
    })
}
