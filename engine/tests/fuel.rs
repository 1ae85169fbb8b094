// SPDX-License-Identifier: GPL-2.0-only
//! What operations are charged: as much as keeps a unit of fuel from buying three times what it
//! buys of others. `nf-wasm-hostile ops` measures what it buys.

mod common;

use common::{call, options, Packet};
use nf_wasm_engine::Instance;
use nf_wasm_hostile::ops::{self, Op};

/// The operations that do not cost one unit, with what goes along with them (constants that are
/// put in place, calls of `nfw.packet len`, the callee's own).
const NOT_ONE: &[(&str, u64)] = &[
    ("block", 0),
    ("if", 3),
    ("if else", 4),
    ("loop", 2),
    ("memory.grow", 8),
    ("memory.grow, far too much", 9),
    ("memory.grow, nothing", 8),
    ("memory.fill, 0 bytes", 4),
    ("memory.fill, 63 bytes", 6),
    ("memory.fill, 64 KiB", 1029),
    ("memory.copy, 0 bytes", 5),
    ("memory.copy, 63 bytes", 7),
    ("memory.copy, 64 KiB", 1031),
    ("memory.copy, upwards 63 bytes", 6),
    ("memory.copy, upwards 64 KiB", 1030),
    ("memory.init, 0 bytes", 4),
    ("memory.init, 63 bytes", 7),
    ("memory.init, 4 KiB", 70),
    ("table.grow", 8),
    ("table.grow, nothing", 8),
    ("table.fill, 0", 4),
    ("table.fill, 7", 6),
    ("table.fill, 2000", 256),
    ("table.copy, 0", 4),
    ("table.copy, 7", 7),
    ("table.copy, 2000", 257),
    ("table.init, 0", 4),
    ("table.init, 7", 6),
    ("table.init, 64", 14),
    ("br_table with 4 values", 4),
    ("br_table with 16 values", 12),
    ("br with 7 values", 2),
    ("br with 16 values", 4),
    ("br_if with 16 values", 9),
    ("block with 16 parameters", 16),
    ("loop with 16 parameters", 17),
    ("locals kept from being overwritten", 18),
    ("call", 6),
    ("call, 3 parameters", 6),
    ("call, 7 parameters", 6),
    ("call, 32 parameters", 10),
    ("call, 16 results", 8),
    ("call, 1,000 locals", 131),
    ("call, 7,000 slots", 882),
    ("call_indirect", 8),
    ("call_indirect, 32 parameters", 12),
    ("call_indirect, imported", 16),
    ("nested calls, 250 deep", 2257),
    ("nested calls of 30 slots, 200 deep", 2611),
    ("nfw.packet len", 14),
    ("nfw.packet load, 0 bytes", 14),
    ("nfw.packet load, 63 bytes", 14),
    ("nfw.packet load, all", 43),
    ("nfw.packet load, the last byte", 14),
    ("nfw.packet load, EFAULT", 14),
    ("nfw.packet load, EFAULT 128 KiB", 2062),
    ("nfw.log write, 0 bytes", 24),
    ("nfw.log write, 63 bytes", 39),
    ("nfw.log write, 256 bytes", 88),
    ("nfw.log write, 128 KiB", 88),
    ("nfw.clock monotonic", 14),
    ("nfw.clock realtime", 14),
    ("nfw.mark get", 14),
    ("nfw.mark set", 14),
];

/// Fuel for doing it sixteen times.
fn fuel(op: &Op) -> u64 {
    let [once, often] = [1, 17].map(|times| {
        let packet = Packet::new(&[0; 1000]);
        let mut instance = Instance::new(&op.times(times), &options(), packet)
            .unwrap_or_else(|refusal| panic!("{}: {refusal}", op.name));
        let outcome = call(&mut instance);
        assert_eq!(outcome.verdict, Ok(1), "{}", op.name);
        outcome.fuel_used
    });
    often - once
}

#[test]
fn each_operation_is_charged_what_it_costs() {
    let all = ops::all();
    for (name, _) in NOT_ONE {
        assert!(all.iter().any(|op| op.name == *name), "no {name}");
    }
    for op in all {
        let known = NOT_ONE.iter().find(|(name, _)| *name == op.name);
        let each = known.map_or(1, |(_, fuel)| *fuel);
        assert_eq!(
            fuel(&op),
            16 * each,
            "sixteen times {}; is patches/wasmi-1.1.0.patch applied? `cargo xtask test` does it",
            op.name
        );
    }
}
