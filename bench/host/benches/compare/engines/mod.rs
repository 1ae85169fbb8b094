// SPDX-License-Identifier: GPL-2.0-only
//! The engines that are compared.

mod native;
mod nf_wasm;
mod rbpf;
mod tinywasm;
mod wasm3;
mod wasmtime;

use anyhow::Result;
use nf_wasm_sdk::{Packet, Verdict};
use nf_wasm_shared::abi::guest::Context;

/// A filter as Rust functions: its initialization, then the filter function.
pub type Native = (fn() -> i32, fn(&Packet) -> Verdict);

/// A filter, and a packet that it accepts.
pub struct Case {
    pub name: &'static str,
    pub wasm: Vec<u8>,
    /// An object file with the same filter as an eBPF program over a packet's bytes.
    pub bpf: Option<Vec<u8>>,
    pub native: Option<Native>,
    pub context: Context,
    pub packet: Vec<u8>,
}

/// A filter that is ready to be called on its packet.
pub trait Engine {
    /// Runs the filter on the packet. Returns its verdict.
    fn call(&mut self) -> Result<i32>;
}

/// Makes an engine for a case. Returns `None` if the engine cannot run the case.
pub type Make = fn(&Case) -> Result<Option<Box<dyn Engine>>>;

/// All engines, nf_wasm's first.
pub const ALL: [(&str, Make); 6] = [
    ("nf_wasm", nf_wasm::make),
    ("wasm3", wasm3::make),
    ("tinywasm", tinywasm::make),
    ("wasmtime", wasmtime::make),
    ("rbpf", rbpf::make),
    ("native", native::make),
];

impl Case {
    /// The buffer: the context, then the window.
    fn shown(&self) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<Context>()];
        if let Some(context) = bytes.first_chunk_mut() {
            self.context.write_to(context);
        }
        bytes.extend(&self.packet);
        bytes
    }

    /// `nfw_filter`'s arguments, if [`Self::shown`] is at the end of a memory of `memory_bytes`.
    fn arguments(&self, memory_bytes: usize) -> (i32, i32, i32) {
        let at = match memory_bytes {
            0 => 0,
            _ => (memory_bytes - self.shown().len()) / 8 * 8,
        };
        (
            at as i32,
            (at + size_of::<Context>()) as i32,
            self.packet.len() as i32,
        )
    }
}
