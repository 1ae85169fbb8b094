// SPDX-License-Identifier: GPL-2.0-only
//! Lets each allocation of a load fail in turn; on a slow kernel, in CI, every eighth.

use nf_wasm_shared::abi::capability::ALL_BITS;
use nf_wasm_shared::abi::ioctl::{FAMILY_INET, HOOK_INPUT};
use nf_wasm_tests::device::{hook, Spec};
use nf_wasm_tests::kernel;
use nf_wasm_tests::net::Net;
use nf_wasm_tests::wasm::wat;
use nix::errno::Errno;

crate::tests![each_allocation_of_a_load_may_fail];

/// An upper bound on the allocations of a load.
const MAX_ALLOCATIONS: u32 = 2_000;

/// Inserts the kernel module with failing allocations, and without them when it is dropped.
struct Failing;

impl Failing {
    fn insert() -> Self {
        kernel::remove();
        kernel::insert_with(&[match kernel::is_shortened() {
            true => "fail_allocations=3",
            false => "fail_allocations=1",
        }]);
        Self
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        kernel::remove();
        kernel::insert();
    }
}

/// A Wasm module with every kind of construct.
fn module() -> Vec<u8> {
    wat(r#"(module
        (import "nfw.packet" "load" (func $load (param i32 i32 i32) (result i32)))
        (import "nfw.log" "write" (func $log (param i32 i32) (result i32)))
        (import "nfw.clock" "monotonic" (func $clock (result i64)))
        (import "nfw.mark" "get" (func $mark (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "some data")
        (table 4 funcref)
        (elem (i32.const 0) $one $one)
        (global $seen (mut i32) (i32.const 0))
        (type $verdict (func (result i32)))
        (func $one (result i32) (i32.const 1))
        (func (export "nfw_init") (result i32) (i32.const 0))
        (func (export "nfw_filter") (param i32 i32 i32) (result i32)
            (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
            (drop (call $mark))
            (drop (call $clock))
            (call_indirect (type $verdict) (i32.const 0))))"#)
}

fn each_allocation_of_a_load_may_fail() {
    let _failing = Failing::insert();
    let net = Net::pair();
    let spec = Spec::new("f", module())
        .allow(ALL_BITS)
        .at(hook(FAMILY_INET, HOOK_INPUT, 0));
    let mut failed = 0;
    let filter = loop {
        match net.server.try_load(&spec) {
            Ok(filter) => break filter,
            Err(refused) => {
                failed += 1;
                assert_eq!(
                    refused.errno,
                    Errno::ENOMEM,
                    "allocation {failed}: {refused}"
                );
                assert!(
                    refused.text.contains("memory"),
                    "allocation {failed}: {refused}"
                );
                assert_eq!(net.server.filters(), [], "allocation {failed}");
                assert_eq!(net.server.attachments(), [], "allocation {failed}");
            }
        }
        assert!(failed < MAX_ALLOCATIONS, "no load succeeds");
    };
    println!("allocations that failed: {failed}");
    assert!(
        failed > kernel::rounds(50, 10) as u32,
        "only {failed} allocations failed"
    );
    assert_eq!(filter.attachments().len(), 1);
    filter.unload();
}
