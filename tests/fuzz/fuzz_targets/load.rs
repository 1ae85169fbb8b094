// SPDX-License-Identifier: GPL-2.0-only
//! Loads random bytes, valid Wasm modules and damaged ones. Checks that nothing panics, that
//! `inspect` and a load give the same refusal, and that memory is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nf_wasm_engine::{inspect, Options, Snapshot};
use nf_wasm_fuzz_targets::meter::{peak, Meter};
use nf_wasm_generate::{program, smith, Result, Unstructured};
use nf_wasm_shared::abi::capability::ALL_BITS;
use nf_wasm_shared::abi::limits::{instance_bytes, MEMORY_PAGES};
use nf_wasm_test_host::Packet;

#[global_allocator]
static METER: Meter = Meter;

/// Pages of a linear memory. Few pages make a run fast.
const PAGES: u32 = 4;

/// The memory that the kernel half grants a load of a Wasm module whose linear memory has at most
/// [`PAGES`] pages.
fn budget(wasm: &[u8]) -> usize {
    instance_bytes(wasm.len()) - 2 * (MEMORY_PAGES - PAGES) as usize * 65_536
}

fn module(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    match u.int_in_range(0..=7_u8)? {
        0 => smith::inside(u),
        1 => smith::outside(u),
        2..=4 => {
            // A valid module with some bytes changed, removed or doubled.
            let changes = u.int_in_range(1..=6)?;
            let seeds = (0..changes)
                .map(|_| u.arbitrary())
                .collect::<Result<Vec<(u32, u8, u8)>>>()?;
            let mut wasm = program::program(u, true)?;
            for (at, byte, how) in seeds {
                let at = at as usize % wasm.len().max(1);
                match how % 4 {
                    0 => drop(wasm.drain(at..(at + usize::from(byte)).min(wasm.len()))),
                    1 => wasm.insert(at, byte),
                    _ if at < wasm.len() => wasm[at] = byte,
                    _ => {}
                }
            }
            Ok(wasm)
        }
        _ => Ok(u.bytes(u.len())?.to_vec()),
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(wasm) = module(&mut Unstructured::new(data)) else {
        return;
    };
    let options = Options {
        capabilities: ALL_BITS,
        snaplen: 256,
        memory_pages: PAGES,
        init_fuel: 50_000,
    };
    let inspection = inspect(&wasm);
    let (loaded, bytes) = peak(|| Snapshot::new(&wasm, &options, Packet::none()));
    let budget = budget(&wasm);
    assert!(bytes <= budget, "{bytes} bytes to load {}", wasm.len());
    match (inspection, loaded) {
        (Err(first), Err(second)) => {
            assert_eq!(first, second);
            assert!(!first.message.is_empty());
        }
        (Err(refusal), Ok(_)) => panic!("inspected: {refusal}, but loaded"),
        (Ok(_), Err(refusal)) => {
            assert!(!refusal.message.contains("contradicts itself"), "{refusal}");
        }
        (Ok(inspection), Ok(snapshot)) => {
            assert_eq!(inspection.capabilities, snapshot.capabilities_used());
            let (instance, bytes) = peak(|| snapshot.instance(Packet::none()));
            assert!(instance.is_ok());
            assert!(bytes <= budget, "{bytes} bytes to copy {}", wasm.len());
        }
    }
});
