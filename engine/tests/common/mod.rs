// SPDX-License-Identifier: GPL-2.0-only
//! A packet, a host that has it, and short ways to load and call.
#![allow(dead_code, reason = "each test uses some of these")]

pub mod counting;

use nf_wasm_engine::{inspect, Clock, Host, Instance, Options, Outcome, Refusal, RefusalKind};
use nf_wasm_shared::abi::guest::Context;
use nf_wasm_shared::abi::{capability, limits, trap::Trap};

/// A packet and what became of it.
pub struct Packet {
    pub bytes: Vec<u8>,
    pub mark: u32,
    pub lines: usize,
    pub last_line: [u8; limits::LOG_LINE_BYTES as usize],
    pub last_line_len: usize,
    /// What [`Host::load`] is to fail with.
    pub fail: Option<i32>,
    /// How often [`Host::pause`] was called, and how often it says to go on.
    pub pauses: u64,
    pub most_pauses: u64,
}

impl Packet {
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            mark: 0x1234_5678,
            lines: 0,
            last_line: [0; 256],
            last_line_len: 0,
            fail: None,
            pauses: 0,
            most_pauses: u64::MAX,
        }
    }

    pub fn line(&self) -> &[u8] {
        &self.last_line[..self.last_line_len]
    }
}

impl Host for Packet {
    fn load(&mut self, offset: u32, to: &mut [u8]) -> Result<u32, i32> {
        if let Some(errno) = self.fail {
            return Err(errno);
        }
        to.copy_from_slice(&self.bytes[offset as usize..offset as usize + to.len()]);
        Ok(0)
    }

    fn log(&mut self, text: &[u8]) {
        self.lines += 1;
        self.last_line[..text.len()].copy_from_slice(text);
        self.last_line_len = text.len();
    }

    fn now(&mut self, clock: Clock) -> u64 {
        match clock {
            Clock::Monotonic => 1_000_000_007,
            Clock::Realtime => 1_700_000_000_000_000_000,
        }
    }

    fn mark(&mut self) -> u32 {
        self.mark
    }

    fn set_mark(&mut self, mark: u32) {
        self.mark = mark;
    }

    fn pause(&mut self) -> bool {
        self.pauses += 1;
        self.pauses <= self.most_pauses
    }
}

pub const FUEL: u64 = limits::DEFAULT_FUEL;

pub fn options() -> Options {
    Options {
        capabilities: capability::ALL_BITS,
        snaplen: limits::DEFAULT_SNAPLEN,
        memory_pages: limits::MEMORY_PAGES,
        init_fuel: limits::INIT_FUEL,
    }
}

pub fn context(packet: &Packet) -> Context {
    Context {
        hook: 1,
        family: 2,
        packet_len: packet.bytes.len() as u32,
        transport_offset: 20,
        transport_protocol: 6,
        in_ifindex: 3,
        out_ifindex: 4,
        mark: packet.mark,
        conntrack_state: 8,
        ..Context::default()
    }
}

pub fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A module with a page of memory and a filter of that body.
pub fn filter(body: &str) -> String {
    filter_with("", body)
}

/// The same, with further fields.
pub fn filter_with(fields: &str, body: &str) -> String {
    format!(
        r#"(module (memory (export "memory") 1) {fields}
             (func (export "nfw_filter") (param $ctx i32) (param $pkt i32) (param $len i32)
                   (result i32) {body}))"#
    )
}

pub fn load_with(text: &str, options: &Options) -> Result<Box<Instance<Packet>>, Refusal> {
    Instance::new(
        &wasm(text),
        options,
        Packet::new(&(0..=255).cycle().take(600).collect::<Vec<u8>>()),
    )
}

#[track_caller]
pub fn load(text: &str) -> Box<Instance<Packet>> {
    load_with(text, &options()).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"))
}

pub fn call(instance: &mut Instance<Packet>) -> Outcome {
    let mut context = context(instance.host_mut());
    instance.call(&mut context, FUEL)
}

#[track_caller]
pub fn verdict(text: &str) -> Result<i32, Trap> {
    call(&mut load(text)).verdict
}

/// Checks that a binary is refused by both `inspect` and `Instance::new`, alike.
#[track_caller]
pub fn refused_wasm(wasm: &[u8], kind: RefusalKind, words: &[&str]) {
    let refusal = match inspect(wasm) {
        Err(refusal) => refusal,
        Ok(inspection) => panic!("not refused: {inspection:?}"),
    };
    assert_eq!(refusal.kind, kind, "{refusal}");
    for word in words {
        assert!(
            refusal.message.contains(word),
            "no {word:?} in {:?}",
            refusal.message
        );
    }
    let loaded = Instance::new(wasm, &options(), Packet::new(&[]));
    assert_eq!(loaded.err(), Some(refusal));
}

#[track_caller]
pub fn refused(text: &str, kind: RefusalKind, words: &[&str]) {
    refused_wasm(&wasm(text), kind, words);
}
