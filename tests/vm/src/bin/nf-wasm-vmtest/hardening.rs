// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's rules for native code (net.core.bpf_jit_harden, bpf_jit_limit) apply to the caller
//! of a load, not to the kernel thread that compiles.

use nf_wasm_shared::abi::ioctl::{FilterEntry, FAMILY_IPV4, HOOK_INPUT, TIER_AUTO, TIER_JIT};
use nf_wasm_tests::cpu::Offline;
use nf_wasm_tests::device::{hook, text, Device, Refused, Spec};
use nf_wasm_tests::net::{Namespace, Net};
use nf_wasm_tests::setting::Setting;
use nf_wasm_tests::{sys, wasm};
use nix::errno::Errno;

crate::tests![
    constants_of_who_lacks_cap_bpf_are_blinded,
    the_limit_of_code_holds_for_who_lacks_cap_bpf,
    long_programs_are_not_blinded,
    blinded_code_decides_the_same,
];

const HARDEN: &str = "/proc/sys/net/core/bpf_jit_harden";
const LIMIT: &str = "/proc/sys/net/core/bpf_jit_limit";

/// A filter with `2 * many` constants in its code.
fn with_constants(many: usize) -> Vec<u8> {
    let step = "(local.set $i (i32.mul (i32.xor (local.get $i) (i32.const 85)) (i32.const 13)))\n";
    let body = format!(
        "(local.set $i (local.get $len)) {} (i32.or (local.get $i) (i32.const 1))
         (if (result i32) (then (i32.const 1)) (else (i32.const 0)))",
        step.repeat(many)
    );
    wasm::filter("", &body)
}

/// Loads with CAP_NET_ADMIN as the only capability.
fn load_as_operator(namespace: &Namespace, spec: &Spec) -> Result<FilterEntry, Refused> {
    namespace.enter(|| {
        sys::keep_capabilities(sys::CAP_NET_ADMIN).expect("capset");
        Device::open().load(spec)
    })?;
    Ok(listed(namespace, &spec.name))
}

fn listed(namespace: &Namespace, name: &str) -> FilterEntry {
    let filters = namespace.filters();
    let found = filters.into_iter().find(|it| text(&it.name) == name);
    found.expect("the filter is listed")
}

fn constants_of_who_lacks_cap_bpf_are_blinded() {
    let net = Net::pair();
    let _hardened = Setting::set(HARDEN, "1");
    let spec = |name| Spec::new(name, with_constants(500)).tier(TIER_JIT);
    let privileged = net.server.load(spec("privileged")).entry().memory_shared;
    let operators = load_as_operator(&net.server, &spec("operators")).expect("load");
    println!(
        "{privileged} bytes with CAP_BPF, {} without",
        operators.memory_shared
    );
    // Hardening takes two more eBPF instructions of eight bytes for each constant.
    assert!(operators.memory_shared >= privileged + 1_000 * 2 * 8);
}

fn the_limit_of_code_holds_for_who_lacks_cap_bpf() {
    let net = Net::pair();
    let _limit = Setting::set(LIMIT, "1");
    let spec = |name, tier| Spec::new(name, wasm::always(1)).tier(tier);
    let privileged = net.server.load(spec("privileged", TIER_JIT));
    assert_eq!(privileged.entry().compiled, privileged.entry().instances);
    let refused = load_as_operator(&net.server, &spec("refused", TIER_JIT)).expect_err("refused");
    assert_eq!(refused.errno, Errno::EOPNOTSUPP);
    assert!(refused.text.contains("bpf_jit_limit"), "{refused}");
    // A later build has the rights of the load, no matter who brings the CPU online.
    let offline = Offline::take(1);
    let entry = load_as_operator(&net.server, &spec("operators", TIER_AUTO)).expect("load");
    assert_eq!((entry.instances, entry.compiled), (1, 0));
    assert!(text(&entry.tier_reason).contains("bpf_jit_limit"));
    offline.bring_back();
    let entry = listed(&net.server, "operators");
    assert_eq!((entry.instances, entry.compiled), (2, 0));
}

fn long_programs_are_not_blinded() {
    let net = Net::pair();
    let spec = |name, tier| Spec::new(name, with_constants(9_000)).tier(tier);
    let entry = net.server.load(spec("plain", TIER_JIT)).entry();
    assert_eq!(entry.compiled, entry.instances);
    let _hardened = Setting::set(HARDEN, "2");
    let entry = net.server.load(spec("blinded", TIER_AUTO)).entry();
    assert_eq!(entry.compiled, 0);
    assert!(text(&entry.tier_reason).contains("bpf_jit_harden"));
    let refused = net.server.try_load(&spec("refused", TIER_JIT));
    let refused = refused.expect_err("refused");
    assert!(refused.text.contains("bpf_jit_harden"), "{refused}");
}

fn blinded_code_decides_the_same() {
    let net = Net::pair();
    let _hardened = Setting::set(HARDEN, "2");
    // Constants of all sizes. Hardening splits each of them.
    let body = "(if (i64.ne
          (i64.mul (i64.extend_i32_u (i32.load offset=16 (local.get 0))) (i64.const 0x123456789abc))
          (i64.mul (i64.const 0x123456789abc) (i64.extend_i32_u (i32.load offset=16 (local.get 0)))))
        (then (return (i32.const 0))))
      (i32.eq (i32.load8_u offset=9 (local.get 1)) (i32.const 17))";
    let spec = Spec::new("hardened", wasm::filter("", body)).tier(TIER_JIT);
    let filter = net.server.load(spec.at(hook(FAMILY_IPV4, HOOK_INPUT, 0)));
    crate::tiers::one_packet(&net);
    let counters = filter.counters();
    assert_eq!((counters.packets, counters.accepted), (1, 1));
}
