// SPDX-License-Identifier: GPL-2.0-only
//! Tests a kernel that is locked down. Lockdown cannot be undone, so this runs last in its machine.

use std::fs;
use std::process::Command;

use nf_wasm_shared::abi::ioctl::{GuestTest, ADMISSION_LOCKED_DOWN, ORIGIN_SIGNATURE};
use nf_wasm_tests::device::{Device, Spec};
use nf_wasm_tests::guest_test::Session;
use nf_wasm_tests::kernel;
use nf_wasm_tests::net::Net;
use nf_wasm_tests::signed;
use nf_wasm_tests::wasm;
use nix::errno::Errno;

crate::tests![only_signed_modules_are_taken_and_test_parameters_do_nothing];

const SECURITYFS: &str = "/sys/kernel/security";

fn lock_down() {
    // It may already be mounted: an error is ignored.
    let _ = Command::new("mount")
        .args(["-t", "securityfs", "securityfs", SECURITYFS])
        .output();
    fs::write(format!("{SECURITYFS}/lockdown"), "integrity").expect("lockdown");
}

fn only_signed_modules_are_taken_and_test_parameters_do_nothing() {
    let listed = wasm::always(1);
    let digests = format!("allow_digests={}", signed::sha256(&listed));
    kernel::remove();
    kernel::insert_with(&["fail_allocations=1", "guest_test=1", &digests]);
    let net = Net::pair();
    let refusal = |spec: Spec| net.server.try_load(&spec).expect_err("load");
    let failed = refusal(Spec::new("fails", listed.clone()));
    assert_eq!(failed.errno, Errno::ENOMEM, "{failed}");
    assert_eq!(Device::open().info().expect("info").admission, 0);
    let guest_test = || {
        Session::open()
            .operation(GuestTest::new())
            .expect_err("nothing")
            .errno
    };
    assert_eq!(guest_test(), Errno::ENOEXEC, "the command exists");

    lock_down();

    assert_eq!(guest_test(), Errno::ENOTTY);

    let info = Device::open().info().expect("info");
    assert_eq!(info.admission, ADMISSION_LOCKED_DOWN);
    let shown = net.server.nfwasm_json(&["info"]);
    assert_eq!(shown["admission"]["locked_down"], true, "{shown}");
    for wasm in [wasm::always(0), listed] {
        let unsigned = refusal(Spec::new("unsigned", wasm));
        assert_eq!(unsigned.errno, Errno::EKEYREJECTED, "{unsigned}");
        assert!(unsigned.text.contains("locked down"), "{unsigned}");
    }
    let telnet = signed::block_telnet();
    let spec = Spec::new("telnet", telnet.wasm);
    let stranger = refusal(spec.clone().signed(&telnet.by_stranger));
    assert_eq!(stranger.errno, Errno::ENOKEY, "{stranger}");
    let log = kernel::log();
    assert!(
        log.contains("unsigned module loading is restricted"),
        "the kernel log has no such line"
    );
    let spec = spec.signed(&telnet.signature);
    if signed::is_key_trusted() {
        // If the parameter had an effect, the next build's second allocation would fail.
        let filter = net.server.load(spec);
        assert_eq!(filter.entry().origin, ORIGIN_SIGNATURE);
        assert!(kernel::log().contains("unsafe module parameters is restricted"));
    } else {
        println!("this kernel does not trust the test's key");
        let signed = refusal(spec);
        assert_eq!(signed.errno, Errno::ENOKEY, "{signed}");
    }
}
