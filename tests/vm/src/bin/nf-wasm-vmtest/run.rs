// SPDX-License-Identifier: GPL-2.0-only
//! `NF_WASM_RUN`: one packet, no hook.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nf_wasm_shared::abi::capability::{ALL_BITS, LOG, MARK};
use nf_wasm_shared::abi::ioctl::{
    Run, FAMILY_IPV4, FAMILY_NETDEV, HOOK_FORWARD, HOOK_INPUT, NO_TRAP, TIER_INTERP, TIER_JIT,
    TRAP_DROP,
};
use nf_wasm_shared::abi::limits::MAX_FUEL;
use nf_wasm_shared::abi::trap::Trap;
use nf_wasm_tests::cpu::Offline;
use nf_wasm_tests::device::{hook, name_field, Device, Refused, Spec};
use nf_wasm_tests::net::Net;
use nf_wasm_tests::{wasm, BLOCK_TELNET};
use nix::errno::Errno;

crate::tests![
    gives_the_verdict,
    gives_mark_fuel_and_log,
    computes_and_formats_floats,
    gives_the_trap,
    sets_up_the_language_first,
    tells_family_and_hook,
    counts_nothing_and_leaves_the_filter_alone,
    leaves_the_cpu_to_others,
    refuses_what_it_cannot_run,
];

fn request() -> Run {
    Run {
        family: FAMILY_IPV4,
        hook: HOOK_INPUT,
        capabilities: ALL_BITS,
        ..Run::new()
    }
}

/// A guest uses up its fuel on the only CPU. Another thread must be able to run there.
fn leaves_the_cpu_to_others() {
    let _offline = Offline::take(1);
    let wasm = wasm::filter("", "(loop $for (br $for)) (unreachable)");
    let wakeups = |fuel| {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                let mut wakeups = 0;
                while !over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_micros(100));
                    wakeups += 1;
                }
                wakeups
            });
            let asked = Run {
                fuel,
                tier: TIER_INTERP,
                ..request()
            };
            let (answer, _) = run(asked, &wasm, &[0x45; 20]).expect("run");
            over.store(true, Ordering::Relaxed);
            assert_eq!(answer.trap, Trap::OutOfFuel as u32);
            other.join().expect("the other thread")
        })
    };
    let (short, long) = (wakeups(100), wakeups(MAX_FUEL));
    println!("{short} wakeups during a short run, {long} during a long one");
    assert!(long > short + 20, "{short}, {long}");
}

fn run(request: Run, wasm: &[u8], packet: &[u8]) -> Result<(Run, String), Refused> {
    Device::open().run(request, wasm, packet)
}

/// An IPv4 packet with TCP to `port`.
fn tcp_packet(port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(40_000, port, 0, 1000)
        .write(&mut packet, b"payload")
        .expect("a packet");
    packet
}

fn gives_the_verdict() {
    for file in BLOCK_TELNET {
        let wasm = wasm::example(file);
        for (port, verdict) in [(23, 0), (80, 1), (22, 1), (24, 1), (5888, 1)] {
            let (answer, log) = run(request(), &wasm, &tcp_packet(port)).expect("run");
            assert_eq!(answer.verdict, verdict, "{file}: port {port}");
            assert_eq!(answer.trap, NO_TRAP);
            assert!(answer.fuel_used > 0);
            assert_eq!(log, "");
        }
    }
}

fn computes_and_formats_floats() {
    let wasm = wasm::example("packet-statistics.wasm");
    let packet = tcp_packet(80);
    assert_eq!(packet.len(), 47);
    let (answer, log) = run(request(), &wasm, &packet).expect("run");
    assert_eq!((answer.verdict, answer.trap), (1, NO_TRAP), "{answer:?}");
    assert!(
        log.contains("1 packets: mean 47.00, variance 0.000e0"),
        "{log}"
    );
    println!("fuel for a packet that is logged: {}", answer.fuel_used);
}

fn gives_mark_fuel_and_log() {
    let wasm = wasm::filter(
        r#"(import "nfw.mark" "get" (func $get (result i32)))
           (import "nfw.mark" "set" (func $set (param i32) (result i32)))
           (import "nfw.log" "write" (func $log (param i32 i32) (result i32)))
           (import "nfw.clock" "monotonic" (func $monotonic (result i64)))
           (import "nfw.clock" "realtime" (func $realtime (result i64)))
           (data (i32.const 0) "one line\07another")"#,
        "(drop (call $set (i32.add (call $get) (i32.const 1))))
         (drop (call $log (i32.const 0) (i32.const 8)))
         (drop (call $log (i32.const 8) (i32.const 8)))
         ;; Later than 2020, and not before boot.
         (i32.and (i64.gt_u (call $realtime) (i64.const 1577836800000000000))
                  (i64.gt_u (call $monotonic) (i64.const 0)))",
    );
    let asked = Run {
        mark: 41,
        ..request()
    };
    let (answer, log) = run(asked, &wasm, &[0x45; 20]).expect("run");
    assert_eq!(answer.mark, 42);
    assert_eq!(answer.verdict, 1);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines, ["one line", "?another"]);
    let (again, _) = run(asked, &wasm, &[0x45; 20]).expect("run");
    assert_eq!(again.fuel_used, answer.fuel_used);
    // With one unit of fuel less it traps.
    let starved = Run {
        fuel: answer.fuel_used - 1,
        ..asked
    };
    let (starved, _) = run(starved, &wasm, &[0x45; 20]).expect("run");
    assert_eq!(starved.trap, Trap::OutOfFuel as u32);
}

fn sets_up_the_language_first() {
    for name in ["_initialize", "__wasm_call_ctors"] {
        // A library compiled by clang: a table of ports in memory, and the result in a global.
        let wasm = wasm::filter(
            &format!(
                r#"(global $ports (mut i32) (i32.const 0))
                   (func (export "{name}")
                     (i32.store16 (i32.const 1024) (i32.const 23))
                     (global.set $ports (i32.add (global.get $ports) (i32.const 1))))
                   (func (export "nfw_init") (result i32)
                     (i32.ne (i32.load16_u (i32.const 1024)) (i32.const 23)))"#
            ),
            "(if (i32.ne (global.get $ports) (i32.const 1)) (then (return (i32.const 7))))
             (i32.ne (i32.load8_u offset=23 (local.get $pkt)) (i32.load8_u (i32.const 1024)))",
        );
        for tier in [TIER_INTERP, TIER_JIT] {
            for (port, verdict) in [(23, 0), (80, 1)] {
                let asked = Run { tier, ..request() };
                let (answer, _) = run(asked, &wasm, &tcp_packet(port)).expect("run");
                let said = (answer.trap, answer.verdict);
                assert_eq!(said, (NO_TRAP, verdict), "{name}, tier {tier}: port {port}");
            }
        }
    }
}

fn gives_the_trap() {
    for (body, trap) in [
        ("(unreachable)", Trap::Unreachable),
        ("(i32.const 77)", Trap::UnknownVerdict),
        ("(i32.load (i32.const -4))", Trap::MemoryOutOfBounds),
        ("(loop $for (br $for)) (unreachable)", Trap::OutOfFuel),
    ] {
        let wasm = wasm::filter("", body);
        let (answer, _) = run(request(), &wasm, &[0x45; 20]).expect("run");
        assert_eq!(answer.trap, trap as u32, "{body}");
    }
}

fn tells_family_and_hook() {
    let wasm = wasm::filter(
        "",
        "(i32.and
           (i32.eq (i32.load offset=8 (local.get $ctx)) (i32.const 2))
           (i32.eq (i32.load offset=12 (local.get $ctx)) (i32.const 2)))",
    );
    let verdict = |hook, family| {
        let request = Run {
            hook,
            family,
            ..request()
        };
        run(request, &wasm, &tcp_packet(80)).expect("run").0.verdict
    };
    assert_eq!(verdict(HOOK_FORWARD, FAMILY_IPV4), 1);
    assert_eq!(verdict(HOOK_INPUT, FAMILY_IPV4), 0);
    // The context has a transport header for the family netdev too.
    let block = wasm::example(BLOCK_TELNET[0]);
    let request = Run {
        family: FAMILY_NETDEV,
        hook: 0,
        ..request()
    };
    let (answer, _) = run(request, &block, &tcp_packet(23)).expect("run");
    assert_eq!(answer.verdict, 0);
}

fn counts_nothing_and_leaves_the_filter_alone() {
    let net = Net::pair();
    // Drops from the second packet on.
    let once = wasm::filter(
        r#"(import "nfw.log" "write" (func $log (param i32 i32) (result i32)))
           (global $seen (mut i32) (i32.const 0))"#,
        "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
         (i32.eq (global.get $seen) (i32.const 1))",
    );
    let spec = Spec::new("once", once).allow(LOG.bit).on_trap(TRAP_DROP);
    let filter = net.server.load(spec.at(hook(FAMILY_IPV4, HOOK_INPUT, 0)));
    let before = filter.entry();
    net.server.enter(|| {
        for by_id in [false, true] {
            let mut request = request();
            if by_id {
                request.id = filter.id();
            } else {
                request.name = name_field(b"once");
            }
            for _ in 0..2 {
                let (answer, _) = run(request, &[], &tcp_packet(80)).expect("run");
                assert_eq!(answer.verdict, 1, "each run has a new instance");
            }
        }
    });
    assert_eq!(filter.entry(), before);
}

#[track_caller]
fn refused(asked: Run, wasm: &[u8], packet: &[u8], errno: Errno, words: &str) {
    let refused = run(asked, wasm, packet).expect_err(words);
    assert_eq!(refused.errno, errno, "{refused}");
    assert!(refused.text.contains(words), "{refused}");
}

fn refuses_what_it_cannot_run() {
    let accept = wasm::always(1);
    let packet = [0x45; 20];
    refused(request(), &accept, &[], Errno::EMSGSIZE, "packet");
    refused(request(), &accept, &[0; 65_536], Errno::EMSGSIZE, "65535");
    refused(request(), b"nonsense", &packet, Errno::ENOEXEC, "Wasm");
    let mark = wasm::filter(
        r#"(import "nfw.mark" "get" (func $get (result i32)))"#,
        "(call $get)",
    );
    let without = Run {
        capabilities: ALL_BITS & !MARK.bit,
        ..request()
    };
    refused(without, &mark, &packet, Errno::EACCES, "nfw.mark");
    let unknown = Run {
        name: name_field(b"nobody"),
        ..request()
    };
    refused(unknown, &[], &packet, Errno::ENOENT, "nobody");
    refused(unknown, &accept, &packet, Errno::EINVAL, "not both");
    let family = Run {
        family: 7,
        ..request()
    };
    refused(family, &accept, &packet, Errno::EOPNOTSUPP, "family 7");
}
