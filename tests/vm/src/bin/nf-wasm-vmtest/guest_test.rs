// SPDX-License-Identifier: GPL-2.0-only
//! `NF_WASM_GUEST_TEST`, and the specification's suite.

use std::process::Command;

use nf_wasm_shared::abi::ioctl::{
    GuestTest, GUEST_TEST_INVOKE, GUEST_TEST_READ, GUEST_TEST_READ_BYTES, GUEST_TEST_VALUES,
};
use nf_wasm_shared::abi::limits::INIT_FUEL;
use nf_wasm_shared::abi::trap::Trap;
use nf_wasm_tests::device::TIER;
use nf_wasm_tests::guest_test::{named, Failure, Session};
use nf_wasm_tests::kernel::{self, With};
use nf_wasm_tests::net::Net;
use nf_wasm_tests::sys;
use nf_wasm_tests::wasm::wat;
use nix::errno::Errno;

crate::tests![
    it_is_not_there_without_the_parameter,
    an_unprivileged_user_may_not,
    a_module_is_read_back_and_called,
    bad_requests_are_refused,
    each_allocation_may_fail,
    the_specification_holds_interpreted,
    the_specification_holds_compiled,
];

/// A module with every kind of construct. It is no filter.
fn module() -> Vec<u8> {
    wat(r#"(module
        (memory (export "m") 1)
        (data (i32.const 65530) "secret")
        (table 2 funcref)
        (elem (i32.const 0) $add)
        (global $g (export "g") (mut i64) (i64.const -2))
        (global (export "c") i32 (i32.const 7))
        (func $start (global.set $g (i64.const 5)))
        (start $start)
        (func $add (export "add") (param i64 i64) (result i64)
            (i64.add (local.get 0) (local.get 1)))
        (func (export "same") (param externref) (result externref i32)
            (local.get 0) (i32.const -1))
        (func (export "trap") (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
        (func (export "for ever") (loop (br 0))))"#)
}

fn it_is_not_there_without_the_parameter() {
    let refused = Session::open().operation(GuestTest::new());
    assert_eq!(refused.expect_err("not there").errno, Errno::ENOTTY);
}

fn an_unprivileged_user_may_not() {
    let _inserted = With::parameters(&["guest_test=1", "user_namespaces=1"]);
    let net = Net::pair();
    net.server.enter(|| {
        let session = Session::open();
        sys::become_nobody().expect("setresuid");
        let refused = session.operation(GuestTest::new());
        assert_eq!(refused.expect_err("no right").errno, Errno::EPERM);
    });
}

fn a_module_is_read_back_and_called() {
    let _inserted = With::parameters(&["guest_test=1"]);
    let session = Session::open();
    let first = session.instantiate(&module()).expect("instantiate");
    assert_eq!(session.get(first, "g"), Ok(5), "the start function ran");
    session.set(first, "g", u64::MAX).expect("set");
    assert_eq!(session.get(first, "g"), Ok(u64::MAX));
    assert_eq!(session.get(first, "c"), Ok(7));
    let read = session.read(first, "m", 65_528, 8).expect("read");
    assert_eq!(read, b"\0\0secret");
    assert_eq!(session.invoke(first, "add", &[40, 2]), Ok(vec![42]));
    assert_eq!(
        session.invoke(first, "same", &[0]),
        Ok(vec![0, 0xffff_ffff])
    );
    assert_eq!(
        session.invoke(first, "same", &[9]),
        Ok(vec![9, 0xffff_ffff])
    );
    let trapped = |trap| Err(Failure::Trapped(trap));
    let division = trapped(Trap::IntegerDivisionByZero);
    assert_eq!(session.invoke(first, "trap", &[]), division);
    assert_eq!(
        session.invoke(first, "for ever", &[]),
        trapped(Trap::OutOfFuel)
    );

    session.register(first, "first").expect("register");
    let linked = wat(
        r#"(module (import "first" "add" (func (param i64 i64) (result i64)))
        (export "again" (func 0)))"#,
    );
    let second = session.instantiate(&linked).expect("linked");
    assert_eq!(session.invoke(second, "again", &[1, 2]), Ok(vec![3]));

    // Another open file knows neither this session's instances nor its names.
    let other = Session::open();
    assert!(matches!(other.get(first, "g"), Err(refused) if refused.errno == Errno::EINVAL));
}

fn bad_requests_are_refused() {
    let _inserted = With::parameters(&["guest_test=1"]);
    let session = Session::open();
    let instance = session.instantiate(&module()).expect("instantiate");
    let invoke = || named(GUEST_TEST_INVOKE, instance, "add");
    let cases = [
        (
            "flags",
            Errno::EOPNOTSUPP,
            GuestTest {
                flags: 1,
                ..invoke()
            },
        ),
        (
            "tier",
            Errno::EOPNOTSUPP,
            GuestTest {
                tier: 3,
                ..invoke()
            },
        ),
        (
            "operation",
            Errno::EOPNOTSUPP,
            GuestTest {
                operation: 6,
                ..invoke()
            },
        ),
        (
            "fuel",
            Errno::EFBIG,
            GuestTest {
                fuel: INIT_FUEL + 1,
                ..invoke()
            },
        ),
        ("no arguments", Errno::EINVAL, invoke()),
        (
            "no such instance",
            Errno::EINVAL,
            GuestTest {
                instance: 0,
                ..invoke()
            },
        ),
        (
            "a long name",
            Errno::EINVAL,
            GuestTest {
                name_len: 257,
                ..invoke()
            },
        ),
        (
            "too many values",
            Errno::EINVAL,
            GuestTest {
                value_count: GUEST_TEST_VALUES as u32 + 1,
                ..invoke()
            },
        ),
        ("a name that is not UTF-8", Errno::EINVAL, {
            let mut request = invoke();
            request.name[0] = 0xff;
            request
        }),
        (
            "a memory as a function",
            Errno::EINVAL,
            named(GUEST_TEST_INVOKE, instance, "m"),
        ),
        ("no module", Errno::ENOEXEC, GuestTest::new()),
        (
            "a long read",
            Errno::EFBIG,
            GuestTest {
                data_len: GUEST_TEST_READ_BYTES + 1,
                ..named(GUEST_TEST_READ, instance, "m")
            },
        ),
        (
            "beyond the memory",
            Errno::EINVAL,
            GuestTest {
                offset: u64::MAX,
                ..named(GUEST_TEST_READ, instance, "m")
            },
        ),
        (
            "an unmapped buffer",
            Errno::EFAULT,
            GuestTest {
                data: 8,
                data_len: 8,
                ..named(GUEST_TEST_READ, instance, "m")
            },
        ),
    ];
    for (what, errno, request) in cases {
        let refused = session.operation(request).expect_err(what);
        assert_eq!(refused.errno, errno, "{what}: {refused}");
    }
    let refused = session.set(instance, "c", 1).expect_err("a constant");
    assert_eq!(refused.errno, Errno::EINVAL, "{refused}");
    // The refusals did not change the session.
    assert_eq!(session.invoke(instance, "add", &[1, 2]), Ok(vec![3]));
}

fn each_allocation_may_fail() {
    let _inserted = With::parameters(&["guest_test=1", "fail_allocations=1"]);
    let wasm = module();
    let mut failed = 0;
    loop {
        // Each session has a new region, whose nth allocation fails.
        let session = Session::open();
        match session.instantiate(&wasm) {
            Ok(instance) => {
                assert_eq!(session.get(instance, "g"), Ok(5));
                break;
            }
            Err(Failure::Refused(refused)) => {
                failed += 1;
                assert_eq!(
                    refused.errno,
                    Errno::ENOMEM,
                    "allocation {failed}: {refused}"
                );
            }
            Err(failure) => panic!("allocation {failed}: {failure:?}"),
        }
        assert!(failed < 2_000, "no instance is made");
    }
    println!("allocations that failed: {failed}");
    assert!(failed > 50, "only {failed} allocations failed");
}

/// Runs these files, or with `NF_WASM_EVERYTHING` all of version 2, which contains nearly all of
/// version 1. The host runs both in both tiers. All of it takes minutes here, because each call is
/// a kernel thread.
fn the_specification_holds(tier: &str, files: &[&str]) {
    let _inserted = With::parameters(&["guest_test=1"]);
    let files = if kernel::is_everything_wanted() {
        &["wasm-v2"]
    } else {
        files
    };
    for file in files {
        let mut spectest = Command::new("nf-wasm-spectest");
        let output = spectest.arg(file).env(TIER, tier).output();
        let output = output.expect("nf-wasm-spectest");
        let text = String::from_utf8_lossy(&output.stdout);
        print!("{text}");
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// On the stock kernel, only the files in which kernel and host differ: floats, which the kernel's
/// build computes in software.
fn the_specification_holds_interpreted() {
    let files: &[&str] = match kernel::is_slow() {
        true => &["wasm-v2/conversions"],
        false => &["wasm-v2/conversions", "wasm-v2/f"],
    };
    the_specification_holds("interp", files);
}

/// On the stock kernel, the files on integers, memory, calls, tables and traps: the host runs compiled
/// code in an eBPF machine, only the kernel translates it for the processor.
fn the_specification_holds_compiled() {
    let files: &[&str] = match kernel::is_slow() {
        true => &["wasm-v2/int_exprs"],
        false => &[
            "wasm-v2/i",
            "wasm-v2/address",
            "wasm-v2/br_table",
            "wasm-v2/call",
            "wasm-v2/endianness",
            "wasm-v2/memory_fill",
            "wasm-v2/memory_grow",
            "wasm-v2/table_",
            "wasm-v2/traps",
        ],
    };
    the_specification_holds("jit", files);
}
