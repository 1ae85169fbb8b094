// SPDX-License-Identifier: GPL-2.0-only
//! Native code in place and the interpreter on a copy must see the same packet. Each filter is
//! loaded in both tiers. The bytes that a filter reads determine the fuel that it takes, so equal
//! fuel shows that both saw the same bytes.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;

use nf_wasm_shared::abi::ioctl::{
    Counters, Hook, FAMILY_INET, HOOK_EGRESS, HOOK_INGRESS, HOOK_INPUT, HOOK_OUTPUT, TIER_INTERP,
    TIER_JIT,
};
use nf_wasm_tests::device::{hook, netdev, Spec};
use nf_wasm_tests::filter::Filter;
use nf_wasm_tests::net::{Namespace, Net, BOTH};
use nf_wasm_tests::traffic::{accept, receive, send, send_one};
use nf_wasm_tests::{eventually, wasm};

crate::tests![
    ports_are_the_same,
    each_byte_of_the_window_is_the_same,
    what_lies_behind_a_packet_is_the_same,
    the_end_of_the_window_is_the_same,
    the_whole_context_is_the_same,
];

/// Runs a loop for `$j` modulo 1,024 rounds, and accepts. `$j` is a hash of what the filter read.
const SPEND: &str = "
    (local.set $i (i32.and (local.get $j) (i32.const 1023)))
    (block $done (loop $round
      (br_if $done (i32.eqz (local.get $i)))
      (local.set $i (i32.sub (local.get $i) (i32.const 1)))
      (br $round)))
    (i32.const 1)";

/// Sizes of datagrams: within the window, beyond it, and in several fragments.
const SIZES: [usize; 9] = [0, 1, 20, 100, 207, 208, 300, 1_400, 3_000];
/// Further datagrams, so that code that bails out on each is no longer run in place.
const MANY: u64 = 200;
/// Bytes sent over a connection, in segments whose payload is in pages.
const STREAM: usize = 200_000;

/// Adds a value to the hash.
fn hash(value: &str) -> String {
    format!("(local.set $j (i32.xor (i32.mul (local.get $j) (i32.const 31)) {value}))\n")
}

/// The same filter in both tiers, at one hook.
struct Twins {
    interpreted: Filter,
    native: Filter,
}

impl Twins {
    fn load(namespace: &Namespace, name: &str, body: &str, place: impl Fn(i32) -> Hook) -> Self {
        let wasm = wasm::filter("", &format!("{body}{SPEND}"));
        let twin = |tier, priority| {
            let spec = Spec::new(&format!("{name}-{priority}"), wasm.clone()).tier(tier);
            namespace.load(spec.at(place(priority)))
        };
        Self {
            interpreted: twin(TIER_INTERP, 1),
            native: twin(TIER_JIT, 2),
        }
    }

    /// The common counters of both, once no more packets arrive.
    #[track_caller]
    fn agreed(&self) -> Counters {
        let mut last = None;
        eventually("the same counters", || {
            let both = (self.interpreted.counters(), self.native.counters());
            let settled = last == Some(both) && both.0.packets == both.1.packets;
            last = Some(both);
            settled.then_some(())
        });
        let (interpreted, native) = last.expect("counters");
        assert_eq!(native, interpreted);
        assert_eq!(native.traps, [0; 16]);
        native
    }
}

/// Sends many kinds of packets past a filter with the body `body`, at several hooks.
#[track_caller]
fn all_is_the_same(body: &str) {
    let net = Net::pair();
    let inet = |number| move |priority| hook(FAMILY_INET, number, priority);
    let device = |number, device| {
        move |priority| Hook {
            priority,
            ..netdev(number, device)
        }
    };
    let twins = [
        Twins::load(&net.client, "output", body, inet(HOOK_OUTPUT)),
        Twins::load(
            &net.client,
            "egress",
            body,
            device(HOOK_EGRESS, "to-server"),
        ),
        Twins::load(
            &net.server,
            "ingress",
            body,
            device(HOOK_INGRESS, "to-client"),
        ),
        Twins::load(&net.server, "input", body, inet(HOOK_INPUT)),
    ];
    for ip in BOTH {
        let address = net.server_address(ip);
        let socket = net.server.udp(address, 9);
        let sender = net.client.udp_to(SocketAddr::new(address, 9));
        for size in SIZES {
            let payload: Vec<u8> = (0..size).map(|at| (at * 7 + size) as u8).collect();
            send_one(&sender, &payload);
            receive(&socket, 1);
        }
        send(&sender, MANY, 100);
        receive(&socket, MANY);
        let listener = net.server.tcp(address, 80);
        let mut there = net.client.dial(SocketAddr::new(address, 80)).connected();
        let mut here = accept(&listener);
        let bytes: Vec<u8> = (0..STREAM).map(|at| (at % 251) as u8).collect();
        thread::scope(|scope| {
            scope.spawn(|| there.write_all(&bytes).expect("write"));
            let mut read = vec![0; STREAM];
            here.read_exact(&mut read).expect("read");
            assert!(read == bytes, "received bytes differ from those sent");
        });
    }
    for twins in twins {
        let counters = twins.agreed();
        assert!(counters.packets as usize > 2 * SIZES.len());
    }
}

fn ports_are_the_same() {
    let ports = hash("(i32.load (i32.add (local.get $pkt) (i32.load offset=24 (local.get $ctx))))");
    all_is_the_same(&format!(
        "(if (i32.lt_u (i32.load offset=24 (local.get $ctx)) (i32.const 1024)) (then {ports}))"
    ));
}

fn each_byte_of_the_window_is_the_same() {
    let byte = hash("(i32.load8_u (i32.add (local.get $pkt) (local.get $i)))");
    all_is_the_same(&format!(
        "(block $end (loop $next
           (br_if $end (i32.ge_u (local.get $i) (local.get $len)))
           {byte}
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br $next)))"
    ));
}

fn what_lies_behind_a_packet_is_the_same() {
    all_is_the_same(&hash(
        "(i32.load8_u (i32.add (local.get $pkt) (local.get $len)))",
    ));
}

fn the_end_of_the_window_is_the_same() {
    // An access that only some packets reach.
    all_is_the_same(&hash(
        "(i32.wrap_i64 (i64.rem_u (i64.load offset=248 (local.get $pkt)) (i64.const 1009)))",
    ));
}

fn the_whole_context_is_the_same() {
    let fields = (0..12).map(|at| hash(&format!("(i32.load offset={} (local.get $ctx))", at * 4)));
    all_is_the_same(&fields.collect::<String>());
}
