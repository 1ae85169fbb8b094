// SPDX-License-Identifier: GPL-2.0-only
//! Runs filters on packets. Checks that the engine does not panic, that no filter uses more fuel
//! than it was given, that nothing is allocated but the error of a trap, that each filter gets a
//! correct context, that a second run gives the same result, and that a run with exactly the
//! reported fuel succeeds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nf_wasm_engine::{inspect, Instance, Options, Outcome};
use nf_wasm_fuzz_targets::meter::{peak, Meter};
use nf_wasm_generate::case::{Case, Filters};
use nf_wasm_generate::Unstructured;
use nf_wasm_shared::abi::guest::{Context, ACCEPT, DROP, VERSION};
use nf_wasm_shared::abi::trap::Trap;
use nf_wasm_test_host::Packet;

#[global_allocator]
static METER: Meter = Meter;

/// Bytes that a trap may allocate. The kernel half keeps them in reserve (`kmod/build/region.rs`).
const RESERVE: usize = 1024;

fn start(case: &Case) -> Option<Box<Instance<Packet>>> {
    let options = Options {
        capabilities: case.capabilities,
        snaplen: case.snaplen,
        memory_pages: 8,
        init_fuel: 50_000,
    };
    match Instance::new(&case.wasm, &options, Packet::none()) {
        Ok(instance) => Some(instance),
        Err(refusal) => {
            assert!(!refusal.message.contains("contradicts itself"), "{refusal}");
            None
        }
    }
}

/// Runs the filter on one packet and checks what must hold for every packet.
fn call(case: &Case, packet: &[u8], instance: &mut Instance<Packet>, fuel: u64) -> Outcome {
    let has_memory = inspect(&case.wasm).is_ok_and(|it| it.memory.is_some());
    let told = Context {
        hook: case.hook,
        family: case.family,
        packet_len: packet.len() as u32,
        mark: case.mark,
        ..Context::default()
    };
    let mut context = told;
    instance.host_mut().show(packet.to_vec(), case.mark);
    let (outcome, bytes) = peak(|| instance.call(&mut context, fuel));
    assert!(
        bytes <= RESERVE,
        "{bytes} bytes allocated on the packet path"
    );
    let window = if has_memory {
        told.packet_len.min(case.snaplen)
    } else {
        0
    };
    let expected = Context {
        version: VERSION,
        size: size_of::<Context>() as u32,
        window_len: window,
        ..told
    };
    assert_eq!(context, expected);
    assert!(outcome.fuel_used <= fuel);
    // The engine charges the copy of the window, but not to the guest.
    let window_charge = if has_memory {
        10 + u64::from(window) / 64
    } else {
        0
    };
    let charged = instance.host_mut().charged;
    assert!(
        charged <= outcome.fuel_used + window_charge,
        "the host's work is worth {charged} fuel, but {outcome:?}"
    );
    match outcome.verdict {
        Ok(verdict) => assert!(matches!(verdict, ACCEPT | DROP)),
        Err(trap) => assert!(
            !matches!(trap, Trap::Internal | Trap::Packet | Trap::Reentered),
            "{outcome:?}"
        ),
    }
    outcome
}

fuzz_target!(|data: &[u8]| {
    let mut u = Unstructured::new(data);
    let Ok(case) = Case::new(&mut u, Filters::Any, true) else {
        return;
    };
    let Some(mut first) = start(&case) else {
        return;
    };
    let mut again = start(&case).expect("it loaded the first time");
    for packet in &case.packets {
        let outcome = call(&case, packet, &mut first, case.fuel);
        assert_eq!(call(&case, packet, &mut again, case.fuel), outcome);
        assert_eq!(first.host_mut(), again.host_mut());
    }
    let packet = &case.packets[0];
    let outcome = call(&case, packet, &mut start(&case).expect("again"), case.fuel);
    if outcome.verdict == Err(Trap::OutOfFuel) {
        return;
    }
    let needed = outcome.fuel_used;
    let enough = call(&case, packet, &mut start(&case).expect("again"), needed);
    assert_eq!(enough, outcome);
    if needed > 0 {
        let fuel = needed - 1;
        let starved = call(&case, packet, &mut start(&case).expect("again"), fuel);
        assert_eq!(starved.verdict, Err(Trap::OutOfFuel), "{outcome:?}");
        assert_eq!(starved.fuel_used, fuel);
    }
});
