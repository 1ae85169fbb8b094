// SPDX-License-Identifier: GPL-2.0-only
//! The host that tests run filters on outside of the kernel. It answers as the kernel does in
//! `NF_WASM_RUN`, counts calls, and fails when told to.

use nf_wasm_engine::{Clock, Host};

/// Bytes of lines that `NF_WASM_RUN` keeps.
const OUTPUT_BYTES: usize = 1024;
const EFAULT: i32 = -14;

/// A packet, and what a filter did with it.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Its bytes, from the network header on.
    pub bytes: Vec<u8>,
    /// Whether there is a packet: there is none in `nfw_init`.
    is_present: bool,
    /// Its mark.
    pub mark: u32,
    /// What was logged, a line each, cut off as the kernel does it.
    pub output: Vec<u8>,
    /// How many lines were logged.
    pub lines: usize,
    /// Fuel that the calls of the host must have been charged at least, since the packet was shown.
    pub charged: u64,
    /// What [`Host::load`] is to fail with.
    pub fail: Option<i32>,
    /// How often [`Host::pause`] was called.
    pub pauses: u64,
    /// How often [`Host::pause`] says to go on.
    pub max_pauses: u64,
}

impl Packet {
    /// A packet, with a mark that no test sets.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut packet = Self::none();
        packet.show(bytes.to_vec(), 0x1234_5678);
        packet
    }

    /// There is none yet.
    #[must_use]
    pub fn none() -> Self {
        Self {
            bytes: Vec::new(),
            is_present: false,
            mark: 0,
            // Whole from the start: on a packet's way nothing is allocated.
            output: Vec::with_capacity(OUTPUT_BYTES),
            lines: 0,
            charged: 0,
            fail: None,
            pauses: 0,
            max_pauses: u64::MAX,
        }
    }

    /// The next one comes.
    pub fn show(&mut self, bytes: Vec<u8>, mark: u32) {
        self.bytes = bytes;
        self.is_present = true;
        self.mark = mark;
        self.charged = 0;
    }

    /// The line that was logged last.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        let lines = self.output.strip_suffix(b"\n").unwrap_or(&self.output);
        lines.rsplit(|&byte| byte == b'\n').next().unwrap_or(lines)
    }

    fn charge(&mut self, fuel: u64) {
        self.charged += fuel;
    }
}

/// Whether filters did the same. Pauses are of compilers, and say nothing of a filter.
impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        let done = |it: &Self| (it.is_present, it.mark, it.lines, it.charged);
        done(self) == done(other) && self.bytes == other.bytes && self.output == other.output
    }
}

impl Host for Packet {
    fn load(&mut self, offset: u32, to: &mut [u8]) -> Result<u32, i32> {
        if let Some(errno) = self.fail {
            return Err(errno);
        }
        if !self.is_present {
            return Err(EFAULT);
        }
        let from = &self.bytes[offset as usize..][..to.len()];
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
        self.lines += 1;
        self.charge(20 + text.len() as u64 / 4);
    }

    fn now(&mut self, clock: Clock) -> u64 {
        self.charge(10);
        match clock {
            Clock::Monotonic => 1_000_000_007,
            Clock::Realtime => 1_700_000_000_000_000_000,
        }
    }

    fn mark(&mut self) -> u32 {
        self.charge(10);
        self.mark
    }

    fn set_mark(&mut self, mark: u32) {
        self.charge(10);
        if self.is_present {
            self.mark = mark;
        }
    }

    fn pause(&mut self) -> bool {
        self.pauses += 1;
        self.pauses <= self.max_pauses
    }
}
