// SPDX-License-Identifier: GPL-2.0-only
//! Functions that the tests share, to load and call filters.
#![allow(dead_code, reason = "each test uses some of these")]

pub mod counting;

use nf_wasm_engine::{inspect, Instance, Options, Outcome, Refusal, RefusalKind};
use nf_wasm_shared::abi::guest::Context;
use nf_wasm_shared::abi::{capability, limits, trap::Trap};
pub use nf_wasm_test_host::Packet;

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

/// A module with one page of memory and a filter with this body.
pub fn filter(body: &str) -> String {
    filter_with("", body)
}

/// As [`filter`], with additional module fields.
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

/// Checks that `inspect` and `Instance::new` refuse a binary in the same way.
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
