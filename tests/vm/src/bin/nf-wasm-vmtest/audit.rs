// SPDX-License-Identifier: GPL-2.0-only
//! The audit records of loads, attachments and refusals.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nf_wasm_shared::abi::ioctl::{FAMILY_INET, HOOK_INGRESS, HOOK_INPUT};
use nf_wasm_tests::audit::Audit;
use nf_wasm_tests::device::{hook, netdev, Spec};
use nf_wasm_tests::net::{Namespace, Net};
use nf_wasm_tests::signed::hex;
use nf_wasm_tests::wasm;

crate::tests![
    a_filters_life_is_written_down,
    what_goes_with_its_device_or_namespace_is_written_down,
    nothing_is_written_down_while_audit_is_off,
];

/// `netns=` and the namespace's inode.
fn netns(namespace: &Namespace) -> String {
    let path = format!("/run/netns/{}", namespace.name());
    format!("netns={}", fs::metadata(path).expect("netns").ino())
}

fn a_filters_life_is_written_down() {
    let net = Net::pair();
    let audit = Audit::on();
    let netns = netns(&net.server);
    let spec = Spec::new("audited", wasm::always(1)).at(netdev(HOOK_INGRESS, "to-client"));
    let filter = net.server.load(spec);
    let attachment = filter.attachments()[0].id;
    let (id, digest) = (filter.id(), filter.entry().digest);
    let id = format!("id={id}");
    let common = ["filter=\"audited\"", &id, &netns, "res=1", "uid=0"];
    let wait = |op: &str, fields: &[&str]| {
        let op = format!("op=nf_wasm_{op}");
        audit.wait_for(&[&common[..], &[op.as_str()], fields].concat())
    };
    let digest_field = format!("sha256={}", hex(&digest));
    let entry = wait("load", &[&digest_field, "origin=unchecked"]);
    // The fields that identify the caller.
    for name in ["ppid", "pid", "auid", "ses", "comm", "exe", "tty"] {
        assert!(entry.field(name).is_some(), "{name}: {entry:?}");
    }
    let exe = entry.field("exe").unwrap_or_default();
    assert!(exe.contains("nf-wasm-vmtest"), "{entry:?}");
    let attachment = format!("attachment={attachment}");
    let place = ["family=5", "hook=0", "priority=0", "device=\"to-client\""];
    wait("attach", &[&place[..], &[attachment.as_str()]].concat());

    let other = wasm::always(0);
    filter.replace(&other);
    let digest_field = format!("sha256={}", hex(&filter.entry().digest));
    assert_ne!(filter.entry().digest, digest);
    wait("replace", &[&digest_field]);

    let second = filter.attach(hook(FAMILY_INET, HOOK_INPUT, -7));
    let second = second.expect("attach");
    let attachment = format!("attachment={second}");
    let place = ["family=1", "hook=1", "priority=-7", attachment.as_str()];
    wait("attach", &place);
    filter.detach(second).expect("detach");
    wait("detach", &place);
    filter.release();
    wait("release", &[]);
    filter.unload();
    wait("unload", &[]);
}

fn what_goes_with_its_device_or_namespace_is_written_down() {
    let net = Net::pair();
    let audit = Audit::on();
    let netns = netns(&net.server);
    let spec = Spec::new("goes", wasm::always(1)).at(netdev(HOOK_INGRESS, "to-client"));
    let filter = net.server.load(spec);
    net.server.ip("link delete to-client");
    let fields = ["op=nf_wasm_detach", "filter=\"goes\"", &netns, "res=1"];
    let entry = audit.wait_for(&fields);
    assert!(entry.has(&["device=\"to-client\""]), "{entry:?}");
    net.server.delete();
    audit.wait_for(&["op=nf_wasm_unload", "filter=\"goes\"", &netns, "res=1"]);
    drop(filter);
}

fn nothing_is_written_down_while_audit_is_off() {
    let net = Net::pair();
    let audit = Audit::on();
    drop(net.server.load(Spec::new("seen", wasm::always(1))));
    audit.wait_for(&["op=nf_wasm_unload", "filter=\"seen\""]);
    drop(audit);
    drop(net.server.load(Spec::new("unseen", wasm::always(1))));
    let audit = Audit::on();
    drop(net.server.load(Spec::new("again", wasm::always(1))));
    audit.wait_for(&["op=nf_wasm_unload", "filter=\"again\""]);
    let entries = audit.entries();
    let unseen = entries.iter().find(|entry| entry.0.contains("unseen"));
    assert!(unseen.is_none(), "{unseen:?}");
}
