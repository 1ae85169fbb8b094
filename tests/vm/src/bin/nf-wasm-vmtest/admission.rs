// SPDX-License-Identifier: GPL-2.0-only
//! Which Wasm modules a load admits: signatures, the list of digests, and the settings that enforce
//! them.
//!
//! The signatures were made together with the guest's file system (`xtask/src/guest.rs`), as
//! docs/signed-filters.md describes. Debug kernels trust the key, others do not: the outcome of a
//! good signature depends on the kernel's keyring.

use std::fs;
use std::path::Path;
use std::process::Command;

use nf_wasm_shared::abi::ioctl::{
    Run, ADMISSION_SIGNATURE, FAMILY_IPV4, ORIGIN_ALLOWLIST, ORIGIN_SIGNATURE, ORIGIN_UNCHECKED,
};
use nf_wasm_shared::abi::limits::SIGNATURE_BYTES;
use nf_wasm_tests::audit::Audit;
use nf_wasm_tests::device::{Device, Refused, Spec};
use nf_wasm_tests::kernel::{self, With};
use nf_wasm_tests::net::{Namespace, Net};
use nf_wasm_tests::signed::{self, hex, Signed};
use nf_wasm_tests::wasm;
use nix::errno::Errno;

crate::tests![
    a_given_signature_is_checked_though_none_is_required,
    unsigned_modules_are_refused_if_told_so,
    bad_signatures_are_refused_if_told_so,
    a_good_signature_is_taken_if_its_key_is_trusted,
    what_was_loaded_before_stays,
    a_listed_digest_needs_no_signature,
    only_who_may_insert_modules_adds_to_the_list,
    a_wrong_list_is_refused,
    the_requirement_cannot_be_taken_back,
    nfwasm_finds_signatures_and_shows_what_is_enforced,
];

const REQUIRED: &str = "require_signature=1";
const PARAMETERS: &str = "/sys/module/nf_wasm/parameters";

/// An IPv4 header.
const PACKET: [u8; 20] = [
    0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1,
];

fn ipv4_run() -> Run {
    Run {
        family: FAMILY_IPV4,
        ..Run::new()
    }
}

/// Checks that a load, a replacement and a run give the same refusal, each with an audit record,
/// and change nothing.
#[track_caller]
fn refused_everywhere(namespace: &Namespace, wasm: &[u8], signature: &[u8]) -> Refused {
    let before = namespace.filters();
    let spec = Spec::new("refused", wasm.to_vec()).signed(signature);
    let load = namespace.try_load(&spec).expect_err("load");
    let other = namespace.enter(|| {
        let device = Device::open();
        let mut refusals = Vec::new();
        if let Some(filter) = before.first() {
            let replace = device.replace_signed(filter.id, wasm, signature);
            refusals.push(replace.expect_err("replace"));
        }
        let run = device.run_signed(ipv4_run(), wasm, signature, &PACKET);
        refusals.push(run.expect_err("run"));
        refusals
    });
    for refused in &other {
        assert_eq!(refused, &load);
    }
    assert_eq!(namespace.filters(), before);
    load
}

fn a_given_signature_is_checked_though_none_is_required() {
    let net = Net::pair();
    let Signed {
        wasm,
        signature,
        by_stranger,
    } = signed::block_telnet();
    let garbage = refused_everywhere(&net.server, &wasm, b"no signature");
    assert_eq!(garbage.errno, Errno::EBADMSG, "{garbage}");
    assert!(garbage.text.contains("openssl cms"), "{garbage}");
    let truncated = refused_everywhere(&net.server, &wasm, &signature[..signature.len() / 2]);
    assert_eq!(truncated.errno, Errno::EBADMSG, "{truncated}");
    let long = vec![0; SIGNATURE_BYTES as usize + 1];
    let long = refused_everywhere(&net.server, &wasm, &long);
    assert_eq!(long.errno, Errno::EFBIG, "{long}");
    if signed::is_key_trusted() {
        let tampered = [&wasm[..], &[0, 1, 0]].concat();
        let tampered = refused_everywhere(&net.server, &tampered, &signature);
        assert_eq!(tampered.errno, Errno::EKEYREJECTED, "{tampered}");
    }
    // A signature with an unknown key has the same outcome as no signature.
    for signature in [&by_stranger[..], &[]] {
        let spec = Spec::new("telnet", wasm.clone()).signed(signature);
        let filter = net.server.load(spec);
        assert_eq!(filter.entry().origin, ORIGIN_UNCHECKED);
        assert_eq!(hex(&filter.entry().digest), signed::sha256(&wasm));
    }
}

fn unsigned_modules_are_refused_if_told_so() {
    let _required = With::parameters(&[REQUIRED]);
    assert_eq!(
        Device::open().info().expect("info").admission,
        ADMISSION_SIGNATURE
    );
    let net = Net::pair();
    let audit = Audit::on();
    let wasm = wasm::always(1);
    let refused = refused_everywhere(&net.server, &wasm, &[]);
    assert_eq!(refused.errno, Errno::EKEYREJECTED, "{refused}");
    // The text names the remedy.
    let digest = signed::sha256(&wasm);
    assert!(refused.text.contains(&digest), "{refused}");
    let digest = format!("sha256={digest}");
    audit.wait_for(&[
        "op=nf_wasm_load",
        "filter=\"refused\"",
        &digest,
        "res=0",
        "uid=0",
    ]);
    audit.wait_for(&["op=nf_wasm_run", "filter=\"run\"", &digest, "res=0"]);
}

fn bad_signatures_are_refused_if_told_so() {
    let _required = With::parameters(&[REQUIRED]);
    let net = Net::pair();
    let Signed {
        wasm,
        signature,
        by_stranger,
    } = signed::block_telnet();
    let stranger = refused_everywhere(&net.server, &wasm, &by_stranger);
    assert_eq!(stranger.errno, Errno::ENOKEY, "{stranger}");
    assert!(stranger.text.contains(&signed::sha256(&wasm)), "{stranger}");
    let garbage = refused_everywhere(&net.server, &wasm, b"no signature");
    assert_eq!(garbage.errno, Errno::EBADMSG, "{garbage}");
    let long = vec![0; SIGNATURE_BYTES as usize + 1];
    let long = refused_everywhere(&net.server, &wasm, &long);
    assert_eq!(long.errno, Errno::EFBIG, "{long}");
    // A custom section: the module does the same, but has another digest.
    let tampered = [&wasm[..], &[0, 1, 0]].concat();
    let tampered = refused_everywhere(&net.server, &tampered, &signature);
    let expected = if signed::is_key_trusted() {
        Errno::EKEYREJECTED
    } else {
        Errno::ENOKEY
    };
    assert_eq!(tampered.errno, expected, "{tampered}");
}

fn a_good_signature_is_taken_if_its_key_is_trusted() {
    let _required = With::parameters(&[REQUIRED]);
    let net = Net::pair();
    let Signed {
        wasm, signature, ..
    } = signed::block_telnet();
    if !signed::is_key_trusted() {
        println!("this kernel does not trust the test's key");
        let refused = refused_everywhere(&net.server, &wasm, &signature);
        assert_eq!(refused.errno, Errno::ENOKEY, "{refused}");
        return;
    }
    let spec = Spec::new("telnet", wasm.clone()).signed(&signature);
    let filter = net.server.load(spec);
    assert_eq!(filter.entry().origin, ORIGIN_SIGNATURE);
    let refused = refused_everywhere(&net.server, &wasm::always(1), &[]);
    assert_eq!(refused.errno, Errno::EKEYREJECTED, "{refused}");
    net.server.enter(|| {
        let device = Device::open();
        let replace = device.replace_signed(filter.id(), &wasm, &signature);
        replace.expect("replace");
        let run = device.run_signed(ipv4_run(), &wasm, &signature, &PACKET);
        run.expect("run");
    });
    assert_eq!(filter.entry().replaced, 1);
}

fn what_was_loaded_before_stays() {
    let _anew = With::parameters(&[]);
    let net = Net::pair();
    let filter = net.server.load(Spec::new("before", wasm::always(1)));
    fs::write(Path::new(PARAMETERS).join("require_signature"), "1").expect("require_signature");
    let refused = refused_everywhere(&net.server, &wasm::always(1), &[]);
    assert_eq!(refused.errno, Errno::EKEYREJECTED, "{refused}");
    let named = Run {
        id: filter.id(),
        ..ipv4_run()
    };
    net.server
        .enter(|| Device::open().run(named, &[], &PACKET))
        .expect("a loaded program is not checked again");
}

fn listed() -> String {
    fs::read_to_string(Path::new(PARAMETERS).join("allow_digests")).expect("allow_digests")
}

fn a_listed_digest_needs_no_signature() {
    let (one, two) = (wasm::always(1), wasm::always(0));
    let (digest, later) = (signed::sha256(&one), signed::sha256(&two));
    let _required = With::parameters(&[REQUIRED, &format!("allow_digests={digest}")]);
    assert_eq!(listed(), format!("{digest}\n"));
    let net = Net::pair();
    let filter = net.server.load(Spec::new("one", one.clone()));
    assert_eq!(filter.entry().origin, ORIGIN_ALLOWLIST);
    let refused = refused_everywhere(&net.server, &two, &[]);
    assert_eq!(refused.errno, Errno::EKEYREJECTED, "{refused}");

    let file = Path::new(PARAMETERS).join("allow_digests");
    // In capitals, and with a digest that is already in the list.
    let text = format!("{},{digest}\n", later.to_uppercase());
    fs::write(&file, text).expect("allow_digests");
    assert_eq!(listed(), format!("{digest}\n{later}\n"));
    filter.replace(&two);
    assert_eq!(Device::open().info().expect("info").allowed_digests, 2);
    // A signature with an unknown key does not prevent admission by digest.
    let stranger = signed::block_telnet().by_stranger;
    net.server
        .load(Spec::new("two", two.clone()).signed(&stranger));
}

fn only_who_may_insert_modules_adds_to_the_list() {
    let before = listed();
    let digest = signed::sha256(&wasm::always(1));
    let script = format!("echo {digest} > {PARAMETERS}/allow_digests");
    // Root of a user namespace owns the file, as root does, but lacks the capability.
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", &script])
        .output()
        .expect("unshare");
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(listed(), before);
}

fn a_wrong_list_is_refused() {
    let _anew = With::parameters(&[]);
    let file = Path::new(PARAMETERS).join("allow_digests");
    let good = signed::sha256(&wasm::always(1));
    let many: Vec<_> = (0..64).map(|at| format!("{at:064x}")).collect();
    for text in [
        "00".to_owned(),
        format!("{good}0"),
        format!("{good},{}", &good[1..]),
        format!("g{}", &good[1..]),
    ] {
        let error = fs::write(&file, &text).expect_err(&text);
        let errno = error.raw_os_error();
        assert_eq!(errno, Some(Errno::EINVAL as i32), "{text}: {error}");
        assert_eq!(listed(), "", "{text}");
    }
    // 63 entries are free. A write adds all of its digests, or none.
    let lines = |of: &[String]| of.join("\n") + "\n";
    fs::write(&file, &many[0]).expect("the first");
    let error = fs::write(&file, many[1..].join("\n")).expect_err("one too many");
    assert_eq!(error.raw_os_error(), Some(Errno::ENOSPC as i32), "{error}");
    assert_eq!(listed(), lines(&many[..1]));
    fs::write(&file, many[..63].join("\n")).expect("as many as are free");
    assert_eq!(listed(), lines(&many[..63]));
    // The kernel module is not inserted with a bad parameter either.
    kernel::remove();
    let output = kernel::insmod(&kernel::module_file(), &["allow_digests=none"]);
    kernel::insert();
    assert!(!output.status.success(), "{output:?}");
}

fn the_requirement_cannot_be_taken_back() {
    let _required = With::parameters(&[REQUIRED]);
    let file = Path::new(PARAMETERS).join("require_signature");
    let error = fs::write(&file, "0").expect_err("lowered");
    assert_eq!(error.raw_os_error(), Some(Errno::EROFS as i32), "{error}");
    assert_eq!(fs::read_to_string(&file).expect("read"), "Y\n");
}

fn nfwasm_finds_signatures_and_shows_what_is_enforced() {
    let _required = With::parameters(&[REQUIRED]);
    let net = Net::pair();
    let info = net.server.nfwasm_json(&["info"]);
    assert_eq!(info["admission"]["require_signature"], true, "{info}");
    assert_eq!(info["admission"]["locked_down"], false, "{info}");
    let file = format!("{}/block-telnet.wasm", signed::SIGNED);
    let answer = net.server.nfwasm(&["load", &file]);
    if signed::is_key_trusted() {
        assert_eq!(answer.status, 0, "{answer:?}");
        let shown = net.server.nfwasm_json(&["show", "block-telnet"]);
        assert_eq!(shown["filter"]["origin"], "signature", "{shown}");
    } else {
        // Status 4: the kernel refused. The file exists.
        assert_eq!(answer.status, 4, "{answer:?}");
        assert!(answer.stderr.contains("[ENOKEY]"), "{answer:?}");
    }
    let stranger = format!("{}/stranger.p7s", signed::SIGNED);
    for words in [
        &["load", &file, "--name", "x", "--signature", &stranger][..],
        &["run", &file, "--packet", "45", "--signature", &stranger],
    ] {
        let answer = net.server.nfwasm(words);
        assert_eq!(answer.status, 4, "{answer:?}");
        assert!(answer.stderr.contains("[ENOKEY]"), "{answer:?}");
    }
}
