// SPDX-License-Identifier: GPL-2.0-only
//! A host outside of the kernel that answers as the kernel's does in `NF_WASM_RUN`.

use nf_wasm_engine::{Clock, Host};

/// Bytes of lines that `NF_WASM_RUN` keeps.
const OUTPUT_BYTES: usize = 1024;
const EFAULT: i32 = -14;

/// A packet, and what a filter did with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its bytes; `None` while there is none, which is in `nfw_init`.
    bytes: Option<Vec<u8>>,
    /// Its mark.
    pub mark: u32,
    /// What was logged, a line each, cut off as the kernel does it.
    pub output: Vec<u8>,
    /// Fuel that the calls of the host must have been charged at least.
    pub charged: u64,
}

impl Packet {
    /// There is none yet.
    pub fn none() -> Self {
        Self {
            bytes: None,
            mark: 0,
            // Whole from the start: on a packet's way nothing is allocated.
            output: Vec::with_capacity(OUTPUT_BYTES),
            charged: 0,
        }
    }

    /// The next one comes.
    pub fn show(&mut self, bytes: Vec<u8>, mark: u32) {
        self.bytes = Some(bytes);
        self.mark = mark;
        self.charged = 0;
    }

    fn charge(&mut self, fuel: u64) {
        self.charged += fuel;
    }
}

impl Host for Packet {
    fn load(&mut self, offset: u32, to: &mut [u8]) -> Result<u32, i32> {
        let Some(bytes) = &self.bytes else {
            return Err(EFAULT);
        };
        let from = &bytes[offset as usize..][..to.len()];
        to.copy_from_slice(from);
        self.charge(10 + to.len() as u64 / 64);
        // The bytes are in one piece.
        Ok(0)
    }

    fn log(&mut self, text: &[u8]) {
        assert!(
            text.iter().all(|byte| (b' '..=b'~').contains(byte)),
            "a guest logged {text:?}"
        );
        for &byte in text.iter().chain(b"\n") {
            if self.output.len() < OUTPUT_BYTES {
                self.output.push(byte);
            }
        }
        self.charge(20 + text.len() as u64 / 4);
    }

    fn now(&mut self, _: Clock) -> u64 {
        self.charge(10);
        1_700_000_000_000_000_000
    }

    fn mark(&mut self) -> u32 {
        self.charge(10);
        self.mark
    }

    fn set_mark(&mut self, mark: u32) {
        self.charge(10);
        if self.bytes.is_some() {
            self.mark = mark;
        }
    }
}
