// SPDX-License-Identifier: GPL-2.0-only
//! Measures the costs that may depend on the number of CPUs: a load, and a CPU that comes online.

use crate::loads::module;
use crate::report::CpuCosts;
use anyhow::Result;
use nf_wasm_shared::abi::ioctl;
use nf_wasm_tests::cpu::Offline;
use nf_wasm_tests::device::{Device, Refused, Spec};
use std::thread;
use std::time::Instant;

/// Bytes of the Wasm module that is loaded.
const LOADED: usize = 100 << 10;
/// Number of programs while a CPU comes online, and the bytes of each one's Wasm module.
const PROGRAMS: usize = 100;
const SMALL: usize = 1 << 10;
/// Measurements settle if so many are within three percent of the smallest.
const SETTLED: usize = 3;
/// The most measurements.
const MAX_ROUNDS: usize = 30;

/// Measures with all CPUs of the machine.
pub fn measure() -> Result<CpuCosts> {
    let cpus = thread::available_parallelism()?.get();
    let device = Device::open();
    let large = module(LOADED);
    let load_instructions = settled(|| {
        let since = Instant::now();
        let id = load(&device, "large", &large)?;
        let elapsed = since.elapsed().as_nanos() as i64;
        unload(&device, id)?;
        Ok(elapsed)
    })?;
    // The first CPU cannot go offline.
    let last = (cpus > 1).then_some(cpus - 1);
    let alone = last.map(bring_up).transpose()?;
    let small = module(SMALL);
    let ids = (0..PROGRAMS)
        .map(|at| load(&device, &format!("f{at}"), &small))
        .collect::<Result<Vec<_>>>()?;
    let with_programs = last.map(bring_up).transpose()?;
    for id in ids {
        unload(&device, id)?;
    }
    Ok(CpuCosts {
        cpus,
        module_bytes: large.len(),
        load_instructions,
        bring_up_instructions: alone,
        programs: PROGRAMS,
        bring_up_with_programs: with_programs,
    })
}

fn load(device: &Device, name: &str, wasm: &[u8]) -> Result<u32> {
    let spec = Spec::new(name, wasm.to_vec());
    device.load(&spec).map_err(refused)
}

fn unload(device: &Device, id: u32) -> Result<()> {
    device.select(ioctl::NF_WASM_UNLOAD, id).map_err(refused)
}

fn refused(refused: Refused) -> anyhow::Error {
    anyhow::anyhow!("{refused:?}")
}

/// Instructions to bring a CPU online.
fn bring_up(cpu: usize) -> Result<i64> {
    settled(|| {
        let offline = Offline::take(cpu);
        let since = Instant::now();
        offline.bring_back();
        Ok(since.elapsed().as_nanos() as i64)
    })
}

/// The smallest of repeated measurements. The others have ticks of the timer in them, or what the
/// machine still does after it started.
fn settled(mut measure: impl FnMut() -> Result<i64>) -> Result<i64> {
    let mut costs = Vec::new();
    while costs.len() < MAX_ROUNDS {
        costs.push(measure()?);
        costs.sort_unstable();
        let alike = costs
            .iter()
            .take_while(|&&cost| cost - costs[0] <= costs[0] * 3 / 100);
        if alike.count() >= SETTLED {
            return Ok(costs[0]);
        }
    }
    anyhow::bail!("of {MAX_ROUNDS} measurements no {SETTLED} are alike: {costs:?}")
}
