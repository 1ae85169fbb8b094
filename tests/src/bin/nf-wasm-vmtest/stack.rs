// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's stack is small, and a load must not come near its end.

use nf_wasm_abi::capability::ALL_BITS;
use nf_wasm_abi::ioctl::Info;
use nf_wasm_abi::limits;
use nf_wasm_tests::device::{Device, Spec};
use nf_wasm_tests::net::Net;
use nf_wasm_tests::wasm::wat;
use nix::errno::Errno;

crate::tests![the_worst_modules_leave_a_quarter_of_it];

/// What a load may use: 12 of 16 KiB. KASAN's instrumentation needs more, and doubles the stack.
fn most(info: &Info) -> u32 {
    info.load_stack_size / 4 * 3
}

fn repeated(count: u32, item: impl Fn(u32) -> String) -> String {
    (0..count).map(item).collect()
}

/// Modules that are at one limit or at several.
fn worst() -> Vec<(&'static str, String)> {
    let filter = r#"(func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1))"#;
    let long = |n: u32| format!("{n:0>width$}", width = limits::NAME_BYTES as usize);
    let exports = repeated(limits::EXPORTS - 3, |n| {
        format!(
            r#"(func (export "{}") (param i64) (result i32) (i32.const {n}))"#,
            long(n)
        )
    });
    let imports = repeated(limits::IMPORTS, |n| {
        format!(r#"(import "nfw.mark" "set" (func $import{n} (param i32) (result i32)))"#)
    });
    let data = repeated(limits::DATA_SEGMENTS, |n| {
        format!(r#"(data (i32.const {}) "x")"#, n * 16)
    });
    let nested = limits::NESTING as usize - 2;
    let nesting = format!(
        "(func $deep (param i32) (result i32) {} (local.get 0) {})",
        "(block (result i32) ".repeat(nested),
        ")".repeat(nested)
    );
    let ifs = format!(
        "(func (param i32) {} {})",
        "(if (local.get 0) (then ".repeat(nested / 2),
        "))".repeat(nested / 2)
    );
    let targets = "0 ".repeat(limits::BR_TABLE_TARGETS as usize - 1);
    let table = format!("(func (param i32) (block (br_table {targets} 0 (local.get 0))))");
    let locals = format!(
        "(func (local {}))",
        "i64 ".repeat(limits::LOCALS as usize - 1)
    );
    let results = "i32 ".repeat(limits::RESULTS as usize);
    let params = "i64 ".repeat(limits::PARAMS as usize);
    let constants = "(i32.const 1) ".repeat(limits::RESULTS as usize);
    let arguments = "(i64.const 1) ".repeat(limits::PARAMS as usize);
    let signature = format!(
        "(func $wide (param {params}) (result {results}) {constants})
         (func (result {results}) (call $wide {arguments}))"
    );
    let expression = format!(
        "(func (result i32) {} (i32.const 1) {})",
        "(i32.add (i32.const 3) ".repeat(1000),
        ")".repeat(1000)
    );
    let long_body = format!(
        "(func (param i32) {})",
        "(drop (i32.mul (local.get 0) (i32.const 12345)))".repeat(10_000)
    );
    let globals = repeated(limits::GLOBALS, |n| {
        format!("(global (mut i64) (i64.const {n}))")
    });
    let elements = repeated(limits::ELEMENT_SEGMENTS, |_| {
        "(elem (i32.const 0) $small)".to_owned()
    });
    let table_and_elements = format!(
        "(table {} funcref) (func $small) {elements}",
        limits::TABLE_ELEMENTS
    );
    let memory = r#"(memory (export "memory") 1)"#;
    let init = r#"(func $init (export "nfw_init") (result i32) (i32.const 0))"#;
    let together = format!(
        "{imports} {memory} {data} {globals} {exports} {nesting} {ifs} {locals} {signature} \
         {expression} {init} {table_and_elements}"
    );
    let functions = "(func)".repeat(limits::FUNCTIONS as usize - 1);
    let cases = [
        ("exports with long names", exports),
        ("imports", imports),
        ("data segments", format!("{memory} {data}")),
        ("nested blocks", nesting),
        ("nested ifs", ifs),
        ("a large br_table", table),
        ("locals", locals),
        ("parameters and results", signature),
        ("a deep expression", expression),
        ("a long function", long_body),
        ("globals", globals),
        ("elements", table_and_elements),
        ("functions", functions),
        ("all of it", together),
    ];
    let modules = cases.into_iter();
    modules
        .map(|(name, fields)| (name, format!("(module {fields} {filter})")))
        .collect()
}

fn the_worst_modules_leave_a_quarter_of_it() {
    let net = Net::pair();
    let device = Device::open();
    for (what, text) in worst() {
        let filter = net
            .server
            .load(Spec::new("worst", wat(&text)).allow(ALL_BITS));
        filter.unload();
        let info = device.info().expect("info");
        assert!(info.load_stack_peak > 0, "it is measured");
        assert!(
            info.load_stack_peak < most(&info),
            "{what}: {} of {} bytes of stack",
            info.load_stack_peak,
            info.load_stack_size
        );
    }
    // What is refused uses stack as well.
    for cut in [100, 1000, 5000] {
        let (_, text) = worst().pop().expect("the last");
        let mut wasm = wat(&text);
        wasm.truncate(wasm.len() - cut);
        let refused = net.server.try_load(&Spec::new("cut", wasm).allow(ALL_BITS));
        assert_eq!(refused.expect_err("cut off").errno, Errno::ENOEXEC);
    }
    let info = device.info().expect("info");
    println!("peak of a load's stack: {} bytes", info.load_stack_peak);
    assert!(info.load_stack_peak < most(&info));
}
