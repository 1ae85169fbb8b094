// SPDX-License-Identifier: GPL-2.0-only
//! The host with which tests run filters outside the kernel. It answers as the kernel does in
//! `NF_WASM_RUN`, counts calls, and fails on request.

mod native;

use nf_wasm_engine::{Clock, Host};

pub use native::NativeInstance;

/// Bytes of log lines that `NF_WASM_RUN` keeps.
const OUTPUT_BYTES: usize = 1024;
const EFAULT: i32 = -14;

/// A packet, and the effects of a filter on it.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The packet's bytes, from the network header on.
    pub bytes: Vec<u8>,
    /// Whether there is a packet. There is none during `nfw_init`.
    is_present: bool,
    /// The packet's mark.
    pub mark: u32,
    /// The log lines, cut off as in the kernel.
    pub output: Vec<u8>,
    /// The number of lines logged.
    pub lines: usize,
    /// The fuel that the host's work since [`Packet::show`] is worth: the guest must be charged at
    /// least as much.
    pub charged: u64,
    /// The errno with which [`Host::load`] fails.
    pub fail: Option<i32>,
    /// How many times [`Host::pause`] was called.
    pub pauses: u64,
    /// How many calls of [`Host::pause`] return "go on".
    pub max_pauses: u64,
}

impl Packet {
    /// A packet, with a mark that no test uses.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut packet = Self::none();
        packet.show(bytes.to_vec(), 0x1234_5678);
        packet
    }

    /// No packet yet.
    #[must_use]
    pub fn none() -> Self {
        Self {
            bytes: Vec::new(),
            is_present: false,
            mark: 0,
            // Reserved at once: nothing may be allocated on the packet path.
            output: Vec::with_capacity(OUTPUT_BYTES),
            lines: 0,
            charged: 0,
            fail: None,
            pauses: 0,
            max_pauses: u64::MAX,
        }
    }

    /// Replaces the packet by the next one.
    pub fn show(&mut self, bytes: Vec<u8>, mark: u32) {
        self.bytes = bytes;
        self.is_present = true;
        self.mark = mark;
        self.charged = 0;
    }

    /// The last line logged.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        let lines = self.output.strip_suffix(b"\n").unwrap_or(&self.output);
        lines.rsplit(|&byte| byte == b'\n').next().unwrap_or(lines)
    }

    fn charge(&mut self, fuel: u64) {
        self.charged += fuel;
    }
}

/// Whether filters had the same effects. Pauses come from compilers and are not compared.
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
        // The packet is linear: the load costs nothing extra.
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
