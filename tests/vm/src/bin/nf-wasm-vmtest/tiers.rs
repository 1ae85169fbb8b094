// SPDX-License-Identifier: GPL-2.0-only
//! Which tier a filter runs in: native code if possible, else interpreted.

use std::net::SocketAddr;

use nf_wasm_shared::abi::ioctl::{
    FilterEntry, FAMILY_IPV4, HOOK_INPUT, TIER_AUTO, TIER_INTERP, TIER_JIT,
};
use nf_wasm_tests::device::{hook, text, Device, Spec};
use nf_wasm_tests::fail_nth::FaultsBelow;
use nf_wasm_tests::net::{Ip, Net};
use nf_wasm_tests::setting::Setting;
use nf_wasm_tests::traffic::receive;
use nf_wasm_tests::wasm;
use nix::errno::Errno;

crate::tests![
    filters_are_compiled,
    filters_are_interpreted_if_told_so,
    what_cannot_be_compiled_is_interpreted_or_refused,
    without_the_kernels_compiler_filters_are_interpreted,
    without_memory_for_code_filters_are_interpreted,
    a_replacement_may_change_the_tier,
    memory_includes_native_code,
];

const ENABLE: &str = "/proc/sys/net/core/bpf_jit_enable";

/// A filter that uses floats.
fn with_floats() -> Vec<u8> {
    wasm::filter("", "(i32.trunc_sat_f64_u (f64.const 1))")
}

/// Sends a packet to the server's filters and socket.
pub(crate) fn one_packet(net: &Net) {
    let address = net.server_address(Ip::V4);
    let socket = net.server.udp(address, 9);
    net.client
        .udp_to(SocketAddr::new(address, 9))
        .send(b"x")
        .expect("send");
    receive(&socket, 1);
}

fn assert_interpreted(entry: &FilterEntry, because: &str) {
    assert_eq!(entry.compiled, 0);
    let reason = text(&entry.tier_reason);
    assert!(reason.contains(because), "{reason:?}");
}

fn filters_are_compiled() {
    let net = Net::pair();
    for tier in [TIER_AUTO, TIER_JIT] {
        let filter = net
            .server
            .load(Spec::new("native", wasm::always(1)).tier(tier));
        let entry = filter.entry();
        assert_eq!((entry.tier, entry.compiled), (tier, entry.instances));
        assert_eq!(text(&entry.tier_reason), "");
    }
}

fn filters_are_interpreted_if_told_so() {
    let net = Net::pair();
    let spec = Spec::new("slow", wasm::always(1)).tier(TIER_INTERP);
    let entry = net.server.load(spec).entry();
    assert_eq!(entry.tier, TIER_INTERP);
    assert_interpreted(&entry, "");
}

fn what_cannot_be_compiled_is_interpreted_or_refused() {
    let net = Net::pair();
    let spec = |tier| {
        Spec::new("floats", with_floats())
            .tier(tier)
            .at(hook(FAMILY_IPV4, HOOK_INPUT, 0))
    };
    let filter = net.server.load(spec(TIER_AUTO));
    assert_interpreted(&filter.entry(), "floats");
    one_packet(&net);
    assert_eq!(filter.counters().accepted, 1);
    drop(filter);

    let refused = net.server.try_load(&spec(TIER_JIT)).expect_err("refused");
    assert_eq!(refused.errno, Errno::EOPNOTSUPP);
    for part in ["floats", "--tier auto"] {
        assert!(refused.text.contains(part), "{refused}");
    }
    assert!(net.server.filters().is_empty());
}

fn without_the_kernels_compiler_filters_are_interpreted() {
    let net = Net::pair();
    let _off = Setting::set(ENABLE, "0");
    let spec = |tier| {
        Spec::new("without", wasm::always(1))
            .tier(tier)
            .at(hook(FAMILY_IPV4, HOOK_INPUT, 0))
    };
    let filter = net.server.load(spec(TIER_AUTO));
    assert_interpreted(&filter.entry(), "bpf_jit_enable");
    one_packet(&net);
    assert_eq!(filter.counters().accepted, 1);
    drop(filter);
    let refused = net.server.try_load(&spec(TIER_JIT)).expect_err("refused");
    assert_eq!(refused.errno, Errno::EOPNOTSUPP);
    assert!(refused.text.contains("bpf_jit_enable"), "{refused}");
}

/// The first allocation fails in the kernel's compiler, or before the compiler is called. Later
/// allocations are not tested: docs/testing.md says why.
fn without_memory_for_code_filters_are_interpreted() {
    let net = Net::pair();
    let spec = |tier| {
        Spec::new("poor", wasm::always(1))
            .tier(tier)
            .at(hook(FAMILY_IPV4, HOOK_INPUT, 0))
    };
    for (function, reason) in [
        ("bpf_int_jit_compile", "could not compile it"),
        ("nf_wasm_host_jit", "memory ran out"),
    ] {
        let Some(faults) = FaultsBelow::set_up(function) else {
            println!("skipped: this kernel has no fault injection");
            return;
        };
        let refused = net.server.try_load(&spec(TIER_JIT)).expect_err("refused");
        let filter = net.server.load(spec(TIER_AUTO));
        drop(faults);
        assert_eq!(refused.errno, Errno::EOPNOTSUPP);
        assert!(refused.text.contains(reason), "{refused}");
        assert_interpreted(&filter.entry(), reason);
        one_packet(&net);
        assert_eq!(filter.counters().accepted, 1, "{function}");
    }
}

fn a_replacement_may_change_the_tier() {
    let net = Net::pair();
    let filter = net
        .server
        .load(Spec::new("both", wasm::always(1)).tier(TIER_AUTO));
    let interpreted = |wasm: Vec<u8>| {
        let id = filter.id();
        net.server
            .enter(move || Device::open().replace_in_tier(id, &wasm, TIER_INTERP))
    };
    interpreted(wasm::always(1)).expect("replace");
    assert_eq!(filter.entry().tier, TIER_INTERP);
    assert_interpreted(&filter.entry(), "");
    // A setting that the request does not contain stays.
    filter.replace(&wasm::always(0));
    assert_eq!(filter.entry().tier, TIER_INTERP);
}

fn memory_includes_native_code() {
    const OPERATIONS: usize = 4_000;
    let net = Net::pair();
    let add = "(i32.mul (local.get 2) (i32.load (local.get 1))) local.set 2\n";
    let body = format!(
        "{} (i32.or (local.get 2) (i32.const 1))",
        add.repeat(OPERATIONS)
    );
    let wasm = wasm::filter("", &body);
    let memory = |tier| {
        let spec = Spec::new("long", wasm.clone()).tier(tier);
        let entry = net.server.load(spec).entry();
        (entry.memory_per_cpu, entry.memory_shared)
    };
    let (native, interpreted) = (memory(TIER_JIT), memory(TIER_INTERP));
    println!("{native:?} bytes natively, {interpreted:?} interpreted, for each CPU and shared");
    // At least one eBPF instruction of eight bytes for each operation.
    assert!(native.1 >= (wasm.len() + OPERATIONS * 8) as u64);
    // Two pages of linear memory, and no interpreter.
    assert!(native.0 <= (2 << 16) + (4 << 10) && native.0 < interpreted.0);
}
