// SPDX-License-Identifier: GPL-2.0-only
//! nf_wasm's engine in the tier `interp`, as in the kernel.

use super::{Case, Engine};
use anyhow::{anyhow, Result};
use nf_wasm_engine::{Clock, Host, Instance, Options};
use nf_wasm_shared::abi::{capability, guest::Context, limits};

struct Packet(Vec<u8>);

impl Host for Packet {
    fn load(&mut self, offset: u32, to: &mut [u8]) -> Result<u32, i32> {
        let from = offset as usize;
        to.copy_from_slice(&self.0[from..from + to.len()]);
        Ok(0)
    }

    fn log(&mut self, _text: &[u8]) {}

    fn now(&mut self, _clock: Clock) -> u64 {
        0
    }

    fn mark(&mut self) -> u32 {
        0
    }

    fn set_mark(&mut self, _mark: u32) {}
}

struct NfWasm {
    instance: Box<Instance<Packet>>,
    context: Context,
}

impl Engine for NfWasm {
    fn call(&mut self) -> Result<i32> {
        let outcome = self.instance.call(&mut self.context, limits::MAX_FUEL);
        outcome.verdict.map_err(|trap| anyhow!("{trap:?}"))
    }
}

pub fn make(case: &Case) -> Result<Option<Box<dyn Engine>>> {
    let options = Options {
        capabilities: capability::ALL.iter().fold(0, |all, it| all | it.bit),
        snaplen: 1_500,
        memory_pages: limits::MEMORY_PAGES,
        init_fuel: limits::INIT_FUEL,
    };
    let host = Packet(case.packet.clone());
    let instance = Instance::new(&case.wasm, &options, host).map_err(|it| anyhow!("{it:?}"))?;
    Ok(Some(Box::new(NfWasm {
        instance,
        context: case.context,
    })))
}
