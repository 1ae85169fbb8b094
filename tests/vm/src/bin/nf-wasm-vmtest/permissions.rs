// SPDX-License-Identifier: GPL-2.0-only
//! Which users may open the device and change filters.

use std::fs::File;
use std::io::ErrorKind;
use std::process::{Command, Output};

use nf_wasm_shared::abi::ioctl::{Run, NF_WASM_RELEASE, NF_WASM_UNLOAD};
use nf_wasm_tests::device::{hook, Device, Spec};
use nf_wasm_tests::net::Net;
use nf_wasm_tests::{kernel, sys, wasm};
use nix::errno::Errno;

crate::tests![
    an_unprivileged_user_may_not,
    root_in_a_user_namespace_may_not,
    root_in_a_user_namespace_may_if_the_operator_says_so,
];

fn an_unprivileged_user_may_not() {
    let net = Net::pair();
    let filter = net.server.load(Spec::new("mine", wasm::always(1)));
    let before = net.server.filters();
    net.server.enter(|| {
        // A descriptor that an unprivileged process inherits grants nothing.
        let device = Device::open();
        sys::become_nobody().expect("setresuid");
        let opened = File::open("/dev/nf_wasm").expect_err("the device's mode");
        assert_eq!(opened.kind(), ErrorKind::PermissionDenied);

        let spec = Spec::new("theirs", wasm::always(1));
        assert_eq!(device.load(&spec).expect_err("load").errno, Errno::EPERM);
        let place = hook(2, 1, 0);
        let id = filter.id();
        let refusals = [
            device.replace(id, &spec.wasm).expect_err("replace"),
            device.attach(id, place).expect_err("attach"),
            device.detach(1).expect_err("detach"),
            device.select(NF_WASM_UNLOAD, id).expect_err("unload"),
            device.select(NF_WASM_RELEASE, id).expect_err("release"),
            device
                .run(Run::new(), &spec.wasm, &[0x45; 20])
                .expect_err("run"),
        ];
        for refused in refusals {
            assert_eq!(refused.errno, Errno::EPERM, "{refused}");
        }
        assert_eq!(device.filters(), Err(Errno::EPERM));
        assert_eq!(device.attachments(), Err(Errno::EPERM));
        // INFO needs only the descriptor.
        assert!(device.info().is_ok());
    });
    assert_eq!(net.server.filters(), before);
}

/// `nfwasm WORDS…` as root of a user and a network namespace of its own.
fn in_a_user_namespace(words: &[&str]) -> Output {
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "nfwasm"])
        .args(words)
        .output()
        .expect("unshare")
}

fn root_in_a_user_namespace_may_not() {
    let output = in_a_user_namespace(&["list"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(stderr.contains("CAP_NET_ADMIN"), "{stderr}");
}

fn root_in_a_user_namespace_may_if_the_operator_says_so() {
    kernel::remove();
    kernel::insert_with(&["user_namespaces=1"]);
    let filter = "/usr/share/nf_wasm/filters/accept-all.wat";
    let output = in_a_user_namespace(&["load", filter, "--attach", "inet:input"]);
    // Before any assertion: other tests need the default.
    kernel::remove();
    kernel::insert();
    assert!(output.status.success(), "{output:?}");
}
