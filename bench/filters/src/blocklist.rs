// SPDX-License-Identifier: GPL-2.0-only
//! Drops the flows on a list of 10,000.

use crate::{State, Table};
use nf_wasm_bench_traffic::tables::{flow, FLOWS};
use nf_wasm_sdk::{Packet, Verdict};

/// The addresses, then the ports and the protocol.
type Key = (u64, u64);

static LIST: State<Table<Key, (), 32_768>> = State::new(Table::new());

/// Fills the list. Returns 0, or 1 if the table is full.
pub fn init() -> i32 {
    LIST.with(|list| {
        let whole = (0..FLOWS).map(flow).all(|it| {
            let addresses = (u64::from(it.source) << 32) | u64::from(it.destination);
            let ports = (u64::from(it.source_port) << 16) | u64::from(it.destination_port);
            let key = (addresses, (ports << 8) | u64::from(it.protocol));
            list.insert(hash(key), key, ())
        });
        i32::from(!whole)
    })
}

fn hash((addresses, rest): Key) -> u32 {
    let mixed = (addresses ^ rest.rotate_left(24)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

/// The filter.
pub fn decide(packet: &Packet) -> Verdict {
    let key = || {
        let transport = packet.transport()?;
        let addresses = u64::from_be_bytes(packet.bytes(12)?);
        let ports = u64::from(packet.u32(transport.offset)?);
        Some((addresses, (ports << 8) | u64::from(transport.protocol)))
    };
    match key() {
        Some(key) if LIST.with(|list| list.get(hash(key), key).is_some()) => Verdict::Drop,
        _ => Verdict::Accept,
    }
}
