// SPDX-License-Identifier: GPL-2.0-only
//! Instances that are restored from their program's snapshot.

use nf_wasm_shared::abi::ioctl::{
    STATE_ACTIVE, STATE_QUARANTINED, TIER_INTERP, TIER_JIT, TRAP_DROP, TRAP_RELOAD,
};
use nf_wasm_shared::abi::trap::Trap;
use nf_wasm_tests::device::Spec;
use nf_wasm_tests::wasm;

use crate::traps::path;

crate::tests![
    a_reload_undoes_what_the_instance_wrote,
    reloads_wait_and_end_in_quarantine,
    instances_are_recycled,
    a_release_restores_instances,
    no_cpu_sees_what_another_one_wrote,
];

/// A filter that counts packets in linear memory and in a global, and traps if they differ, or on
/// the packet with number `last`.
fn counts(last: u32) -> Vec<u8> {
    wasm::filter(
        "(global $count (mut i32) (i32.const 0))",
        &format!(
            "(i32.store (i32.const 60000) (i32.add (i32.load (i32.const 60000)) (i32.const 1)))
             (global.set $count (i32.add (global.get $count) (i32.const 1)))
             (if (i32.ne (global.get $count) (i32.load (i32.const 60000))) (then (unreachable)))
             (if (i32.eq (global.get $count) (i32.const {last})) (then (unreachable)))
             (i32.const 1)"
        ),
    )
}

fn a_reload_undoes_what_the_instance_wrote() {
    for tier in [TIER_JIT, TIER_INTERP] {
        let spec = Spec::new("third", counts(3)).tier(tier);
        let path = path(spec.on_trap(TRAP_RELOAD | TRAP_DROP));
        path.send(5);
        let entry = path.filter.entry();
        assert_eq!((entry.reloads, entry.counters.accepted), (1, 4));
        assert_eq!(path.filter.traps(Trap::Unreachable), 1);
        // Without the reload this would be the sixth packet.
        path.send(1);
        assert_eq!(path.filter.traps(Trap::Unreachable), 2);
    }
}

fn reloads_wait_and_end_in_quarantine() {
    /// The first reload does not wait. The others wait 1 ms, 2 ms, … 1,024 ms. If the machine
    /// stands still in between, the waits begin anew.
    const MIN_RELOADS: u64 = 12;
    let spec = Spec::new("bad", wasm::filter("", "(unreachable)"));
    let path = path(spec.on_trap(TRAP_RELOAD | TRAP_DROP));
    let waited = loop {
        path.send(1);
        let entry = path.filter.entry();
        if entry.state == STATE_QUARANTINED {
            break entry;
        }
        assert!(
            entry.counters.packets < 10_000_000,
            "it is never quarantined"
        );
    };
    let reloads = waited.reloads;
    assert!(reloads >= MIN_RELOADS, "{reloads}");
    assert_eq!(path.filter.traps(Trap::Unreachable), reloads + 1);
    // These packets came while the instance waited.
    assert_eq!(
        waited.counters.quarantined,
        waited.counters.packets - reloads - 1
    );
    assert!(waited.counters.quarantined > 0);
}

fn instances_are_recycled() {
    for tier in [TIER_JIT, TIER_INTERP] {
        let path = path(Spec::new("third", counts(3)).tier(tier).recycle(2));
        path.send(6);
        let entry = path.filter.entry();
        assert_eq!((entry.reloads, entry.counters.accepted), (2, 6));
        assert_eq!(path.filter.traps(Trap::Unreachable), 0);
    }
}

fn a_release_restores_instances() {
    for tier in [TIER_JIT, TIER_INTERP] {
        // Traps on all packets but the first.
        let wasm = wasm::filter(
            "(global $used (mut i32) (i32.const 0))",
            "(if (global.get $used) (then (unreachable)))
             (global.set $used (i32.const 1))
             (i32.const 1)",
        );
        let path = path(Spec::new("once", wasm).tier(tier).quarantine(2));
        path.send(3);
        assert_eq!(path.filter.entry().state, STATE_QUARANTINED);
        path.filter.release();
        path.send(1);
        let entry = path.filter.entry();
        assert_eq!((entry.state, entry.reloads), (STATE_ACTIVE, 1));
        assert_eq!(path.filter.traps(Trap::Unreachable), 2);
    }
}

fn no_cpu_sees_what_another_one_wrote() {
    for tier in [TIER_JIT, TIER_INTERP] {
        let spec = Spec::new("sixth", counts(6)).tier(tier);
        let path = path(spec.on_trap(TRAP_RELOAD | TRAP_DROP));
        // The second round begins with reloads: the snapshot is still what it was.
        for round in 1..=2 {
            for cpu in [0, 1] {
                path.send_on(cpu, 5);
            }
            assert_eq!(path.filter.traps(Trap::Unreachable), 2 * (round - 1));
            for cpu in [0, 1] {
                path.send_on(cpu, 1);
            }
            assert_eq!(path.filter.traps(Trap::Unreachable), 2 * round);
        }
        assert_eq!(path.filter.entry().reloads, 2);
    }
}
