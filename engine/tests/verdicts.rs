// SPDX-License-Identifier: GPL-2.0-only
//! The guest interface: context and window, exports, host functions, verdicts.

mod common;

use common::{
    call, context, filter, filter_with, load, load_with, options, verdict, wasm, Packet, FUEL,
};
use nf_wasm_engine::{inspect, ExternKind, Options, RefusalKind, Snapshot};
use nf_wasm_shared::abi::guest::{ACCEPT, DROP, VERSION};
use nf_wasm_shared::abi::trap::Trap;
use nf_wasm_shared::abi::{capability, limits};

#[test]
fn verdicts() {
    assert_eq!(verdict(&filter("i32.const 0")), Ok(DROP));
    assert_eq!(verdict(&filter("i32.const 1")), Ok(ACCEPT));
    for number in ["2", "16", "-1", "0x80000000"] {
        assert_eq!(
            verdict(&filter(&format!("i32.const {number}"))),
            Err(Trap::UnknownVerdict)
        );
    }
}

/// The last of the values that `$f` returns is already in its slot when the others are copied to
/// theirs.
#[test]
fn values_in_their_places_stay() {
    let function = "(func $f (param i32 i32 i32) (result i64 i32 i64 i32)
          (local i32 i64 i32 i64 i32 i32)
        i64.const 5 i32.const -149 local.get 6 local.get 0
        (br_if 0 (i32.lt_u (local.get 2) (local.get 1)))
        drop drop drop drop
        local.get 4 local.get 5 local.get 6 (i32.popcnt (local.get 0)))";
    let body = "(call $f (i32.const 0x9be4cdb5) (i32.const 63) (i32.const 67466))
        local.set $len drop drop drop
        (i32.eq (local.get $len) (i32.popcnt (i32.const 0x9be4cdb5)))";
    assert_eq!(verdict(&filter_with(function, body)), Ok(ACCEPT));
}

/// A body that traps unless the `u32` at each address is the value. Each address is an expression.
fn expect(values: &[(String, u32)]) -> String {
    let mut body = String::new();
    for (address, value) in values {
        body +=
            &format!("(if (i32.ne (i32.load {address}) (i32.const {value})) (then unreachable))\n");
    }
    body + "i32.const 1"
}

#[test]
fn the_context_and_the_window_are_what_the_guide_says() {
    let field = |offset: u32| format!("offset={offset} (local.get $ctx)");
    let fields = [VERSION, 48, 1, 2, 600, 256, 20, 6, 3, 4, 0x1234_5678, 8];
    let mut values: Vec<_> = (0u32..).map(|i| field(4 * i)).zip(fields).collect();
    values.push(("(local.get $pkt)".into(), 0x0302_0100));
    values.push(("offset=252 (local.get $pkt)".into(), 0xfffe_fdfc));
    let body = expect(&values)
        + "(if (i32.ne (local.get $len) (i32.const 256)) (then unreachable))
           (if (i32.and (local.get $ctx) (i32.const 7)) (then unreachable))";
    let mut instance = load(&filter(&body));
    assert_eq!(call(&mut instance).verdict, Ok(ACCEPT));

    // The packet is shorter than the window.
    let mut instance = load(&filter("local.get $len i32.const 7 i32.eq"));
    instance.host_mut().bytes.truncate(7);
    assert_eq!(call(&mut instance).verdict, Ok(ACCEPT));
    instance.host_mut().bytes.clear();
    assert_eq!(call(&mut instance).verdict, Ok(DROP));
}

#[test]
fn behind_a_packet_the_window_is_zero() {
    let init = "(func (export \"nfw_buf\") (param i32) (result i32) (i32.const 64))
        (func (export \"nfw_init\") (result i32)
          (memory.fill (i32.const 64) (i32.const 1) (i32.const 1024)) (i32.const 0))";
    let body = "(i32.eqz (i32.load8_u (i32.add (local.get $pkt) (local.get $len))))
        (i64.eqz (i64.load offset=248 (local.get $pkt)))
        i32.and";
    let mut instance = load(&filter_with(init, body));
    instance.host_mut().bytes = vec![1; 100];
    // The host has cleared the bytes that `nfw_init` wrote.
    assert_eq!(call(&mut instance).verdict, Ok(ACCEPT));
    instance.host_mut().bytes = vec![1; 256];
    assert_eq!(call(&mut instance).verdict, Ok(DROP));
    // The host also clears the last packet's bytes, even if a packet in between could not be read.
    instance.host_mut().fail = Some(-14);
    call(&mut instance);
    instance.host_mut().fail = None;
    instance.host_mut().bytes = vec![1; 20];
    assert_eq!(call(&mut instance).verdict, Ok(ACCEPT));
}

/// Exports of toolchains that set up the language's runtime.
#[test]
fn what_sets_up_the_language_is_called_once_and_first() {
    // Each export records that it was called, and in which order.
    let module = |fields: &str| {
        filter_with(
            &format!(
                r#"(global $calls (mut i32) (i32.const 0))
                   (func $note (param i32)
                     (i32.store8 (global.get $calls) (local.get 0))
                     (global.set $calls (i32.add (global.get $calls) (i32.const 1))))
                   (func (export "nfw_buf") (param i32) (result i32)
                     (call $note (i32.const 66)) (i32.const 1024))
                   (func (export "nfw_init") (result i32)
                     (call $note (i32.const 73)) (i32.const 0))
                   {fields}"#
            ),
            "(i32.eq (i32.load (i32.const 0)) (i32.const 0x00494253))",
        )
    };
    let initialize = r#"(func (export "_initialize") (call $note (i32.const 0x53)))"#;
    let constructors = r#"(func (export "__wasm_call_ctors") (call $note (i32.const 0x53)))"#;
    // `_initialize` runs the constructors itself.
    let both = format!(
        r#"{initialize} (func (export "__wasm_call_ctors") (call $note (i32.const 0x43)))"#
    );
    for fields in [initialize, constructors, &both] {
        let mut instance = load(&module(fields));
        for _ in 0..2 {
            assert_eq!(call(&mut instance).verdict, Ok(ACCEPT), "{fields}");
        }
    }
    // `_initialize` can call host functions, and may do everything that `nfw_init` may.
    let text = r#"(module
        (import "nfw.log" "write" (func $log (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_initialize")
          (drop (call $log (i32.const 0) (i32.const 4)))
          (drop (memory.grow (i32.const 1))))
        (func (export "nfw_filter") (param i32 i32 i32) (result i32)
          (i32.eq (memory.size) (i32.const 3))))"#;
    let mut instance = load(text);
    assert_eq!(instance.host_mut().lines, 1);
    assert_eq!(call(&mut instance).verdict, Ok(ACCEPT));
}

#[test]
fn the_caller_is_told_what_the_guest_was() {
    let mut instance = load(&filter("i32.const 1"));
    let mut context = context(instance.host_mut());
    instance.call(&mut context, FUEL);
    assert_eq!(
        (context.version, context.size, context.window_len),
        (1, 48, 256)
    );
}

#[test]
fn a_packet_that_cannot_be_copied_is_a_trap() {
    let mut instance = load(&filter("i32.const 1"));
    instance.host_mut().fail = Some(-14);
    let outcome = call(&mut instance);
    assert_eq!((outcome.verdict, outcome.fuel_used), (Err(Trap::Packet), 0));
    instance.host_mut().fail = None;
    assert_eq!(call(&mut instance).verdict, Ok(ACCEPT));
}

#[test]
fn a_module_without_memory_gets_nothing_but_zeros() {
    let text = r#"(module
        (import "nfw.packet" "len" (func $len (result i32)))
        (func (export "nfw_filter") (param i32 i32 i32) (result i32)
            (i32.eqz (i32.or (i32.or (local.get 0) (local.get 1)) (local.get 2)))
            (i32.eq (call $len) (i32.const 600))
            i32.and))"#;
    assert_eq!(verdict(text), Ok(ACCEPT));
}

#[test]
fn no_memory_is_one_of_no_bytes() {
    let write = |ptr: u32, len: u32| {
        let text = format!(
            r#"(module
        (import "nfw.log" "write" (func $write (param i32 i32) (result i32)))
        (func (export "nfw_filter") (param i32 i32 i32) (result i32)
            (i32.eqz (call $write (i32.const {ptr}) (i32.const {len})))))"#
        );
        verdict(&text)
    };
    assert_eq!(write(0, 0), Ok(ACCEPT));
    assert_eq!(write(1, 0), Err(Trap::MemoryOutOfBounds));
    assert_eq!(write(0, 1), Err(Trap::MemoryOutOfBounds));
}

#[test]
fn the_buffer_is_the_guest_s_if_it_has_one() {
    let text = |address: &str| {
        format!(
            r#"(module (memory (export "memory") 1 1)
              (func (export "nfw_buf") (param i32) (result i32)
                (if (i32.ne (local.get 0) (i32.const 304)) (then unreachable))
                i32.const {address})
              (func (export "nfw_filter") (param i32 i32 i32) (result i32)
                (i32.and (i32.eq (local.get 0) (i32.const {address}))
                         (i32.eq (local.get 1) (i32.add (local.get 0) (i32.const 48))))))"#
        )
    };
    // 65536 - 304 is the highest address for the buffer.
    for address in ["0", "8", "65232"] {
        assert_eq!(verdict(&text(address)), Ok(ACCEPT));
    }
    for address in ["4", "1", "65240", "65536", "-8", "-304"] {
        let refusal = load_with(&text(address), &options()).err().unwrap();
        assert_eq!(refusal.kind, RefusalKind::Interface);
        assert!(
            refusal.message.contains("nfw_buf(304) returned"),
            "{refusal}"
        );
    }
}

#[test]
fn without_a_buffer_pages_are_appended() {
    let text = |pages: &str| {
        format!(
            r#"(module (memory (export "memory") {pages})
              (func (export "nfw_filter") (param i32 i32 i32) (result i32) i32.const 1))"#
        )
    };
    assert_eq!(verdict(&text("0")), Ok(ACCEPT));
    assert_eq!(verdict(&text("63")), Ok(ACCEPT));
    assert_eq!(verdict(&text("1 2")), Ok(ACCEPT));

    let refusal = load_with(&text("1 1"), &options()).err().unwrap();
    assert_eq!(refusal.kind, RefusalKind::Interface);
    assert!(refusal
        .message
        .contains("raise the memory's maximum or export nfw_buf"));

    let refusal = load_with(&text("64"), &options()).err().unwrap();
    assert_eq!(refusal.kind, RefusalKind::Limit);
    assert!(refusal
        .message
        .contains("has 64 pages, the host needs 1 more"));

    let few = Options {
        memory_pages: 2,
        ..options()
    };
    assert!(load_with(&text("1"), &few).is_ok());
    assert!(load_with(&text("2"), &few).is_err());
    let refusal = load_with(&text("3"), &few).err().unwrap();
    assert!(refusal
        .message
        .contains("begins with 3 pages, and 2 are allowed"));

    // The largest window takes more than one page.
    let wide = Options {
        snaplen: limits::MAX_SNAPLEN,
        ..options()
    };
    assert!(load_with(&text("62"), &wide).is_ok());
    assert!(load_with(&text("63"), &wide).is_err());
}

#[test]
fn init_runs_once_and_may_grow_memory() {
    let text = |init: &str| {
        format!(
            r#"(module (memory (export "memory") 1) (global $inits (mut i32) (i32.const 0))
              (func (export "nfw_init") (result i32)
                (global.set $inits (i32.add (global.get $inits) (i32.const 1))) {init})
              (func (export "nfw_filter") (param i32 i32 i32) (result i32)
                (i32.eq (global.get $inits) (i32.const 1))))"#
        )
    };
    assert_eq!(verdict(&text("i32.const 0")), Ok(ACCEPT));
    // Page 2 is the host's buffer.
    assert_eq!(
        verdict(&text("(i32.ne (memory.grow (i32.const 3)) (i32.const 2))")),
        Ok(ACCEPT)
    );
    // Over the limit it returns -1.
    assert_eq!(
        verdict(&text(
            "(i32.ne (memory.grow (i32.const 63)) (i32.const -1))"
        )),
        Ok(ACCEPT)
    );
    for (init, word) in [
        ("i32.const 7", "nfw_init returned 7"),
        ("unreachable", "nfw_init trapped: unreachable"),
        ("(loop (br 0)) i32.const 0", "nfw_init trapped: out-of-fuel"),
    ] {
        let refusal = load_with(&text(init), &options()).err().unwrap();
        assert_eq!(refusal.kind, RefusalKind::Interface);
        assert!(refusal.message.contains(word), "{refusal}");
    }
}

#[test]
fn memory_lasts_from_packet_to_packet() {
    let mut instance = load(&filter(
        "(i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
         (i32.load (i32.const 0)) i32.const 3 i32.eq",
    ));
    let verdicts: Vec<_> = (0..4).map(|_| call(&mut instance).verdict).collect();
    assert_eq!(verdicts, [Ok(DROP), Ok(DROP), Ok(ACCEPT), Ok(DROP)]);
}

fn importing(imports: &str, body: &str) -> String {
    filter(body).replace("(module", &format!("(module {imports}"))
}

#[test]
fn packet() {
    let imports = r#"(import "nfw.packet" "load" (func $load (param i32 i32 i32) (result i32)))"#;
    let load_at = |offset: u32, to: u32, len: u32| {
        importing(
            imports,
            &format!(
                "(i32.store (i32.const 16) (i32.const 0x55))
                 (if (call $load (i32.const {offset}) (i32.const {to}) (i32.const {len}))
                     (then unreachable))
                 i32.const 1"
            ),
        )
    };
    assert_eq!(verdict(&load_at(500, 0, 100)), Ok(ACCEPT));
    assert_eq!(verdict(&load_at(600, 0, 0)), Ok(ACCEPT));
    assert_eq!(verdict(&load_at(0, 65536, 0)), Ok(ACCEPT));
    // Beyond the packet: it returns -14, and copies nothing.
    for (offset, len) in [(500, 101), (600, 1), (u32::MAX, 1), (0, 601)] {
        assert_eq!(verdict(&load_at(offset, 0, len)), Err(Trap::Unreachable));
        let body = format!(
            "(i32.store (i32.const 16) (i32.const 0x55))
             (i32.and
               (i32.eq (call $load (i32.const {offset}) (i32.const 16) (i32.const {len}))
                       (i32.const -14))
               (i32.eq (i32.load (i32.const 16)) (i32.const 0x55)))"
        );
        assert_eq!(verdict(&importing(imports, &body)), Ok(ACCEPT));
    }
    // Beyond the memory, which has two pages.
    for (to, len) in [
        (131_072, 1),
        (131_071, 2),
        (u32::MAX, 1),
        (u32::MAX, u32::MAX),
    ] {
        let trap = if len == u32::MAX {
            // The length costs more than the fuel.
            Trap::OutOfFuel
        } else {
            Trap::MemoryOutOfBounds
        };
        assert_eq!(verdict(&load_at(0, to, len)), Err(trap));
    }
}

#[test]
fn log() {
    let write = |text: u32, len: u32, result: u32| {
        importing(
            r#"(import "nfw.log" "write" (func $write (param i32 i32) (result i32)))
               (data (i32.const 0) "tel\1b[2J\nnet\ff")
               (data (i32.const 100) "a")"#,
            &format!(
                "(i32.eq (call $write (i32.const {text}) (i32.const {len})) (i32.const {result}))"
            ),
        )
    };
    let mut instance = load(&write(0, 12, 12));
    assert_eq!(call(&mut instance).verdict, Ok(ACCEPT));
    assert_eq!(instance.host_mut().line(), b"tel?[2J?net?");
    let mut instance = load(&write(100, 1000, 256));
    assert_eq!(call(&mut instance).verdict, Ok(ACCEPT));
    assert_eq!(instance.host_mut().line().len(), 256);
    assert_eq!(
        verdict(&write(131_000, 100, 0)),
        Err(Trap::MemoryOutOfBounds)
    );
}

#[test]
fn clock_and_mark() {
    let text = importing(
        r#"(import "nfw.clock" "monotonic" (func $mono (result i64)))
           (import "nfw.clock" "realtime" (func $real (result i64)))
           (import "nfw.mark" "get" (func $get (result i32)))
           (import "nfw.mark" "set" (func $set (param i32) (result i32)))"#,
        "(i64.eq (call $mono) (i64.const 1000000007))
         (i64.eq (call $real) (i64.const 1700000000000000000))
         i32.and
         (i32.eq (call $get) (i32.const 0x12345678))
         i32.and
         (i32.eqz (call $set (i32.const 0xffffffff)))
         i32.and",
    );
    let mut instance = load(&text);
    assert_eq!(call(&mut instance).verdict, Ok(ACCEPT));
    assert_eq!(instance.host_mut().mark, u32::MAX);
    assert_eq!(
        capabilities_used(&text),
        capability::CLOCK.bit | capability::MARK.bit
    );
}

#[test]
fn fuel() {
    let used = |text: &str| call(&mut load(text)).fuel_used;
    let empty = used(&filter("i32.const 1"));
    assert!((1..=3).contains(&empty), "{empty}");

    let import = r#"(import "nfw.packet" "load" (func $f (param i32 i32 i32) (result i32)))"#;
    let load_of = |len: u32| {
        let body = format!("(i32.eqz (call $f (i32.const 0) (i32.const 0) (i32.const {len})))");
        used(&importing(import, &body))
    };
    assert!(load_of(0) >= empty + 10);
    assert_eq!(load_of(576) - load_of(64), 8);
    // The fuel just suffices for the call, and then it is one unit short.
    let mut instance = load(&importing(
        r#"(import "nfw.packet" "len" (func $f (result i32)))"#,
        "(drop (call $f)) i32.const 1",
    ));
    let cost = call(&mut instance).fuel_used;
    let mut context = context(instance.host_mut());
    assert_eq!(instance.call(&mut context, cost).verdict, Ok(ACCEPT));
    let outcome = instance.call(&mut context, cost - 1);
    assert_eq!(outcome.verdict, Err(Trap::OutOfFuel));
    assert_eq!(outcome.fuel_used, cost - 1);
}

#[test]
fn an_inspection_tells_what_a_filter_needs() {
    let wasm = wasm(
        r#"(module
          (import "nfw.mark" "get" (func (result i32)))
          (memory (export "memory") 3 9)
          (table (export "t") 1 funcref)
          (func (export "nfw_init") (result i32) i32.const 0)
          (func (export "nfw_filter") (param i32 i32 i32) (result i32) i32.const 1))"#,
    );
    let inspection = inspect(&wasm).unwrap();
    assert_eq!(inspection.capabilities, capability::MARK.bit);
    assert_eq!(inspection.imports[0].module, "nfw.mark");
    assert_eq!(inspection.imports[0].name, "get");
    assert_eq!(inspection.exports[1].name, "t");
    assert_eq!(inspection.exports[1].kind, ExternKind::Table);
    assert_eq!(inspection.functions, 2);
    assert!(inspection.has_init && !inspection.has_buf);
    let memory = inspection.memory.unwrap();
    assert_eq!((memory.min, memory.max), (3, Some(9)));
}

#[test]
fn every_function_of_a_capability_links_as_its_table_says() {
    for module in nf_wasm_engine::MODULES {
        for function in module.functions {
            let list = |what: &str, types: &[_]| -> String {
                types
                    .iter()
                    .map(|ty: &wasmparser::ValType| format!("({what} {ty})"))
                    .collect::<Vec<_>>()
                    .concat()
            };
            let text = importing(
                &format!(
                    r#"(import "{}" "{}" (func {} {}))"#,
                    module.capability.name,
                    function.name,
                    list("param", function.params),
                    list("result", function.results)
                ),
                "i32.const 1",
            );
            assert_eq!(capabilities_used(&text), module.capability.bit);
        }
    }
}

fn capabilities_used(text: &str) -> u64 {
    let snapshot = Snapshot::new(&wasm(text), &options(), Packet::none());
    snapshot.expect("a snapshot").capabilities_used()
}

/// Branches over more instructions than 16 bits can count.
#[test]
fn far_branches_on_bits_are_taken_as_near_ones() {
    let far = "(global.set $g (i32.add (global.get $g) (i32.const 1)))".repeat(12_000);
    for (condition, taken) in [
        ("(i32.and (global.get $six) (i32.const 2))", true),
        ("(i32.and (global.get $six) (global.get $six))", true),
        ("(i32.eqz (i32.and (global.get $six) (i32.const 9)))", true),
        (
            "(i32.eqz (i32.and (global.get $six) (global.get $six)))",
            false,
        ),
        ("(i32.or (global.get $six) (i32.const 2))", true),
        ("(i32.eqz (i32.or (global.get $six) (i32.const 2)))", false),
        (
            "(i64.ne (i64.and (global.get $ten) (i64.const 2)) (i64.const 0))",
            true,
        ),
        (
            "(i64.ne (i64.and (global.get $ten) (global.get $ten)) (i64.const 0))",
            true,
        ),
        ("(i64.eqz (i64.and (global.get $ten) (i64.const 5)))", true),
        (
            "(i64.eqz (i64.and (global.get $ten) (global.get $ten)))",
            false,
        ),
        (
            "(i64.ne (i64.or (global.get $ten) (i64.const 2)) (i64.const 0))",
            true,
        ),
        ("(i64.eqz (i64.or (global.get $ten) (i64.const 2)))", false),
        (
            "(i64.eqz (i64.or (global.get $ten) (global.get $ten)))",
            false,
        ),
    ] {
        let text = filter_with(
            "(global $g (mut i32) (i32.const 0))
             (global $six (mut i32) (i32.const 6))
             (global $ten (mut i64) (i64.const 10))",
            &format!(
                "(block $far (br_if $far {condition}) {far} (return (i32.const 0))) (i32.const 1)"
            ),
        );
        assert_eq!(verdict(&text), Ok(i32::from(taken)), "{condition}");
    }
}
