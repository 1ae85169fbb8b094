// SPDX-License-Identifier: GPL-2.0-only
//! Runs generated functions compiled in the kernel and interpreted in user space, and compares
//! results, traps, fuel, memory and globals. Needs `guest_test=1`.

use nf_wasm_engine::guest_test::Session as Interpreter;
use nf_wasm_generate::arithmetic::{self, Module};
use nf_wasm_generate::random::Random;
use nf_wasm_generate::Unstructured;
use nf_wasm_shared::abi::ioctl::{GUEST_TEST_INVOKE, GUEST_TEST_READ_BYTES, NO_TRAP, TIER_JIT};
use nf_wasm_shared::abi::limits::INIT_FUEL;
use nf_wasm_shared::abi::trap::Trap;

use super::{Campaign, Report};
use crate::guest_test::{named, Session};

/// Calls per module. Each call is a case.
const CALLS: u64 = 12;
/// Random bytes per module.
const BYTES: usize = 4_000;

/// Parameters of the called functions.
const PARAMS: usize = 3;
/// Maximum number of parameters or results.
const MAX_VALUES: usize = 4;

/// Runs a campaign.
pub fn run(campaign: Campaign) -> Report {
    let mut report = Report::default();
    for index in campaign.cases() {
        report.next = index + 1;
        let mut random = Random::new(campaign.seed, index);
        let bytes = random.bytes(BYTES);
        let Ok(made) = arithmetic::module(&mut Unstructured::new(&bytes)) else {
            report.count("too few bytes for a module");
            continue;
        };
        if let Err(what) = module(&made, &mut random, &mut report) {
            let seed = campaign.seed;
            report.findings.push(format!(
                "tiers --seed {seed} --from {index} --runs 1: {what}"
            ));
        }
    }
    report
}

fn module(made: &Module, random: &mut Random, report: &mut Report) -> Result<(), String> {
    let (mut interpreter, kernel) = (Interpreter::new(), Session::open());
    let here = interpreter.instantiate(&made.wasm, INIT_FUEL);
    let here = here.map_err(|refusal| refusal.message)?;
    let here = here.result.map_err(|trap| trap.name().to_owned())?;
    let there = kernel
        .instantiate(&made.wasm)
        .map_err(|failure| format!("{failure:?}"))?;
    for _ in 0..CALLS {
        // The arguments, then the results.
        let mut values = [0; MAX_VALUES];
        values[..PARAMS].fill_with(|| match random.below(3) {
            0 => random.below(100),
            1 => random.below(0x2_0000),
            _ => random.next() & 0xffff_ffff,
        });
        let fuel = random.choose(&[20_000, 20_000, 2_000, 100]);
        let mut request = named(GUEST_TEST_INVOKE, there, "f");
        request.values[..PARAMS].copy_from_slice(&values[..PARAMS]);
        (request.value_count, request.fuel, request.tier) = (PARAMS as u32, fuel, TIER_JIT);
        let answer = kernel.operation(request).map_err(|it| it.to_string())?;
        let called = interpreter.invoke(here, "f", &mut values, PARAMS, fuel);
        let called = called.map_err(|refusal| refusal.message)?;

        let results = made.results.len();
        let expected = called.result.map(|_| &values[..results]);
        let seen = match answer.trap {
            NO_TRAP => Ok(&answer.values[..results]),
            trap => Err(Trap::from_number(trap).unwrap_or(Trap::Internal)),
        };
        if seen != expected {
            return Err(format!("{seen:?} instead of {expected:?}"));
        }
        // Compiled code charges a whole block in advance, so fuel that is too little for the block
        // counts as used.
        let is_comparable = expected != Err(Trap::OutOfFuel);
        if is_comparable && answer.fuel_used != called.fuel_used {
            let (seen, expected) = (answer.fuel_used, called.fuel_used);
            return Err(format!("fuel {seen} instead of {expected}"));
        }
        report.count(match (answer.tier, expected) {
            (TIER_JIT, Ok(_)) => "compiled, a result",
            (TIER_JIT, Err(_)) => "compiled, a trap",
            _ => "interpreted",
        });
    }
    for global in 0..arithmetic::GLOBALS.len() {
        let name = format!("g{global}");
        let expected = interpreter.get(here, &name).map_err(|it| it.message)?;
        let seen = kernel.get(there, &name).map_err(|it| it.to_string())?;
        if seen != expected {
            return Err(format!(
                "global {global}: {seen:#x} instead of {expected:#x}"
            ));
        }
    }
    let piece = u64::from(GUEST_TEST_READ_BYTES);
    for offset in (0..made.pages << 16).step_by(GUEST_TEST_READ_BYTES as usize) {
        let mut expected = vec![0; piece as usize];
        let read = interpreter.read(here, "memory", offset, &mut expected);
        read.map_err(|refusal| refusal.message)?;
        let seen = kernel.read(there, "memory", offset, GUEST_TEST_READ_BYTES);
        if seen.map_err(|it| it.to_string())? != expected {
            return Err(format!("another memory, from {offset} on"));
        }
    }
    Ok(())
}
