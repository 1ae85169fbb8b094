// SPDX-License-Identifier: GPL-2.0-only
//! eBPF, compiled in user space, over a packet's bytes. No window is copied.

use super::{Case, Engine};
use anyhow::{anyhow, Context, Result};
use object::{Object, ObjectSection};
use rbpf::EbpfVmRaw;

struct Rbpf {
    machine: EbpfVmRaw<'static>,
    packet: Vec<u8>,
}

impl Engine for Rbpf {
    fn call(&mut self) -> Result<i32> {
        // SAFETY: The eBPF program was compiled, and reads only the packet.
        let verdict = unsafe { self.machine.execute_program_jit(&mut self.packet) };
        Ok(verdict.map_err(|error| anyhow!("{error}"))? as i32)
    }
}

pub fn make(case: &Case) -> Result<Option<Box<dyn Engine>>> {
    let Some(file) = &case.bpf else {
        return Ok(None);
    };
    let file = object::File::parse(file.as_slice())?;
    let code = file.section_by_name(".text").context("no code")?.data()?;
    // The machine borrows its eBPF program, so the eBPF program is leaked: it lives as long as the
    // benchmark.
    let code: &'static [u8] = Box::leak(code.to_vec().into_boxed_slice());
    let mut machine = EbpfVmRaw::new(Some(code)).map_err(|error| anyhow!("{error}"))?;
    machine.jit_compile().map_err(|error| anyhow!("{error}"))?;
    Ok(Some(Box::new(Rbpf {
        machine,
        packet: case.packet.clone(),
    })))
}
