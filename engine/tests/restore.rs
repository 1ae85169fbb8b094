// SPDX-License-Identifier: GPL-2.0-only
//! Instances that are restored from their snapshot.

mod common;

use common::{context, filter_with, options, wasm, Packet, FUEL};
use nf_wasm_engine::Snapshot;

/// Decides a packet, restores the instance, and decides the packet again, three times.
fn assert_restored(fields: &str, body: &str) {
    let wasm = wasm(&filter_with(fields, body));
    let packet = Packet::new(&[7; 40]);
    let snapshot = Snapshot::new(&wasm, &options(), packet.clone()).expect("a snapshot");
    let mut instance = snapshot.instance(packet.clone()).expect("an instance");
    let memory = instance.memory().to_vec();
    let first = instance.call(&mut context(&packet), FUEL);
    assert_eq!(first.verdict, Ok(1), "{body}");
    let second = instance.call(&mut context(&packet), FUEL);
    assert_ne!(second.verdict, Ok(1), "{body}: nothing to restore");
    for _ in 0..2 {
        instance.restore(&snapshot);
        assert_eq!(instance.memory(), memory);
        assert_eq!(instance.call(&mut context(&packet), FUEL), first, "{body}");
    }
}

#[test]
fn memory_is_restored() {
    assert_restored(
        r#"(data (i32.const 65532) "\01\00\00\00")"#,
        "(i32.load (i32.const 65532)) (i32.store (i32.const 65532) (i32.const 0))",
    );
}

#[test]
fn globals_are_restored() {
    assert_restored(
        "(global $g (mut i32) (i32.const 1))",
        "(global.get $g) (global.set $g (i32.const 0))",
    );
}

#[test]
fn tables_are_restored() {
    assert_restored(
        "(table 2 funcref) (elem (i32.const 0) $one) (func $one (result i32) i32.const 1)",
        "(call_indirect (result i32) (i32.const 0)) (table.set (i32.const 0) (ref.null func))",
    );
}

#[test]
fn dropped_data_segments_are_restored() {
    assert_restored(
        r#"(data $one "\01\00\00\00")"#,
        "(memory.init $one (i32.const 0) (i32.const 0) (i32.const 4)) (data.drop $one)
         (i32.load (i32.const 0))",
    );
}

#[test]
fn dropped_element_segments_are_restored() {
    assert_restored(
        "(table 1 funcref) (elem $one func $f) (func $f (result i32) i32.const 1)",
        "(table.init $one (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop $one)
         (call_indirect (result i32) (i32.const 0))",
    );
}
