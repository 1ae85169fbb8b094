// SPDX-License-Identifier: GPL-2.0-only
//! The filters in Rust, compiled for this machine.

use super::{Case, Engine};
use anyhow::Result;
use nf_wasm_sdk::{Packet, Verdict};
use nf_wasm_shared::abi::guest::Context;
use std::hint::black_box;

struct Native {
    decide: fn(&Packet) -> Verdict,
    context: Context,
    packet: Vec<u8>,
}

impl Engine for Native {
    fn call(&mut self) -> Result<i32> {
        let packet = Packet::new(black_box(&self.context), black_box(&self.packet));
        Ok((self.decide)(&packet) as i32)
    }
}

pub fn make(case: &Case) -> Result<Option<Box<dyn Engine>>> {
    let Some((init, decide)) = case.native else {
        return Ok(None);
    };
    anyhow::ensure!(init() == 0, "{}", case.name);
    Ok(Some(Box::new(Native {
        decide,
        context: case.context,
        packet: case.packet.clone(),
    })))
}
