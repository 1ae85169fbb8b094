// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests every verb that needs the device, on a fake device in memory.

mod fake;

use fake::{Fake, ACCEPT};
use nf_wasm_shared::abi::trap::Trap;
use nfwasm::device::Outcome;
use snapbox::{assert_data_eq, str};

const LOGS: &str = "tests/data/logs.wat";

#[test]
fn a_filter_is_loaded_changed_and_unloaded() {
    let fake = Fake::default();
    assert_data_eq!(
        fake.do_(&format!(
            "load {LOGS} --allow log,mark --attach ipv4:input --attach netdev:egress:filter+5@eth0"
        )),
        str![[r#"
loaded logs, id 1
attached logs to ipv4:input:filter, attachment id 1
attached logs to netdev:egress:filter+5@eth0, attachment id 2

"#]]
    );
    assert_data_eq!(
        fake.do_("attach logs ipv6:output:mangle"),
        str![[r#"
attached filter `logs` to ipv6:output:mangle, attachment id 3

"#]]
    );
    assert_data_eq!(
        fake.do_("list"),
        str![[r#"
ID  NAME  STATE   TIER  ATTACHMENTS                    PACKETS  DROPPED  TRAPS  MEMORY/CPU
 1  logs  active  jit   1 ipv4:input:filter                  0        0      0    97.7 KiB
                        2 netdev:egress:filter+5@eth0
                        3 ipv6:output:mangle

"#]]
    );
    assert_data_eq!(
        fake.do_(&format!(
            "replace 1 {ACCEPT} --allow none --quarantine never --on-trap accept"
        )),
        str![[r#"
replaced the program of filter with id 1

"#]]
    );
    assert_data_eq!(
        fake.do_("show logs"),
        str![[r#"
name          logs
id            1
state         active
on trap       accept
quarantine    never
recycle       never
reloads       0
tier          jit
window        256 bytes
fuel          100000 per packet
capabilities  none
imports from  none
module        73 bytes
SHA-256       abababababababababababababababababababababababababababababababab
origin        unchecked
replacements  1
memory        97.7 KiB on each of 2 CPUs, 19.5 KiB shared
packets       0 (0 accepted, 0 dropped)
bytes         0
traps         0
quarantined   0 packets
fuel used     total 0, min 0, average 0, max 0

ATTACHMENT  HOOK                         PRIORITY  PACKETS  BYTES  DROPPED  TRAPS
         1  ipv4:input:filter                   0        0      0        0      0
         2  netdev:egress:filter+5@eth0         5        0      0        0      0
         3  ipv6:output:mangle               -150        0      0        0      0

"#]]
    );
    assert_data_eq!(
        fake.do_("detach logs ipv4:input"),
        str![[r#"
removed attachment 1

"#]]
    );
    assert_data_eq!(
        fake.do_("detach --attachment 2"),
        str![[r#"
removed attachment 2

"#]]
    );
    assert_data_eq!(
        fake.do_("unload 1"),
        str![[r#"
unloaded filter with id 1

"#]]
    );
    assert_data_eq!(
        fake.do_("list"),
        str![[r#"
no filters are loaded in this network namespace

"#]]
    );
}

#[test]
fn counters_are_shown() {
    let fake = Fake::with_counters();
    assert_data_eq!(
        fake.do_("stats"),
        str![[r#"
FILTER                          PACKETS  BYTES  ACCEPTED  DROPPED  TRAPS  FUEL/MIN  AVG  MAX
accept (quarantined)                100   8400        60       40     12         5   10   30
  1 inet:prerouting:raw             100   8400        60       40     12         5   10   30
  2 netdev:ingress:filter@eth0        0      0         0        0      0         0    0    0
accept: traps: out-of-fuel 12
accept: 20 packets were decided by the trap policy in quarantine

"#]]
    );
    assert_data_eq!(
        fake.do_("show accept"),
        str![[r#"
name          accept
id            1
state         quarantined
on trap       drop
quarantine    after 1000 traps in a row on one CPU
recycle       never
reloads       0
tier          jit
window        256 bytes
fuel          100000 per packet
capabilities  none
imports from  none
module        73 bytes
SHA-256       abababababababababababababababababababababababababababababababab
origin        unchecked
replacements  0
memory        97.7 KiB on each of 2 CPUs, 19.5 KiB shared
packets       100 (60 accepted, 40 dropped)
bytes         8400
traps         12 (out-of-fuel 12)
quarantined   20 packets
fuel used     total 800, min 5, average 10, max 30

ATTACHMENT  HOOK                        PRIORITY  PACKETS  BYTES  DROPPED  TRAPS
         1  inet:prerouting:raw             -300      100   8400       40     12
         2  netdev:ingress:filter@eth0         0        0      0        0      0

"#]]
    );
    fake.do_("release accept");
    assert!(fake.do_("list").contains("active"));
}

#[test]
fn watching_shows_rates() {
    let fake = Fake::with_counters();
    let text = fake.do_("stats --watch=0.1 --count 2");
    assert_eq!(text.matches("FILTER").count(), 2);
    assert_eq!(text.matches("PACKETS/S").count(), 1);
    let stream = fake.do_("--json stats accept --watch=0.1 --count 2");
    assert_eq!(stream.lines().count(), 2);
    for line in stream.lines() {
        let report: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(report["schema"], 1);
    }
}

#[test]
fn refusals_suggest_remedies() {
    let fake = Fake::default();
    fake.do_(&format!("load {ACCEPT}"));
    assert_data_eq!(
        fake.refused(&format!("load {ACCEPT}")),
        str![[r#"
nfwasm: cannot load `accept`: name: `accept` is taken [EEXIST]
help: `nfwasm replace accept tests/data/accept.wat` replaces its program, `--name` loads another filter

"#]]
    );
    assert_data_eq!(
        fake.refused(&format!("load {LOGS} --allow mark")),
        str![[r#"
nfwasm: cannot load `logs`: an import needs a capability [EACCES]
help: grant the capabilities that it needs: --allow nfw.log,nfw.mark

"#]]
    );
    assert_data_eq!(
        fake.refused(&format!("replace accept {LOGS}")),
        str![[r#"
nfwasm: cannot replace the program of filter `accept`: an import needs a capability [EACCES]
help: grant the capabilities that it needs: --allow nfw.log,nfw.mark

"#]]
    );
    assert_data_eq!(
        fake.refused("load tests/data/simd.wat"),
        str![[r#"
nfwasm: cannot load `simd`: unexpected SIMD opcode: 0xfd at offset 0x2b in function 0; compile without simd128 [EOPNOTSUPP]

"#]]
    );
    assert_data_eq!(
        fake.refused(&format!(
            "load {ACCEPT} --name x --attach netdev:ingress@nodev0"
        )),
        str![[r#"
nfwasm: cannot load `x`: hook: no device `nodev0` [ENODEV]

"#]]
    );
    assert_data_eq!(
        fake.refused(&format!("replace nobody {ACCEPT}")),
        str![[r#"
nfwasm: cannot replace the program of filter `nobody`: no filter `nobody` [ENOENT]
help: `nfwasm list` shows the loaded filters; `nfwasm load tests/data/accept.wat` loads a new one

"#]]
    );
    assert_data_eq!(
        fake.refused("unload 7"),
        str![[r#"
nfwasm: cannot unload filter with id 7: no filter with id 7 [ENOENT]

"#]]
    );
    assert_data_eq!(
        fake.refused("show nobody"),
        str![[r#"
nfwasm: cannot show filter `nobody`: this network namespace has no filter `nobody` [ENOENT]
help: `nfwasm list` shows the loaded filters

"#]]
    );
    assert_data_eq!(
        fake.refused("detach accept ipv4:input"),
        str![[r#"
nfwasm: cannot detach filter `accept` from ipv4:input: it is not attached there [ENOENT]
help: `nfwasm show 1` shows its attachments

"#]]
    );
    assert_data_eq!(
        fake.refused("detach --attachment 9"),
        str![[r#"
nfwasm: cannot remove attachment 9: no attachment 9 [ENOENT]

"#]]
    );
    fake.do_("attach accept ipv4:input");
    assert_data_eq!(
        fake.refused("attach accept ipv4:input:0"),
        str![[r#"
nfwasm: cannot attach filter `accept` to ipv4:input:filter: hook: attached there with this priority [EEXIST]
help: give another priority, as in `filter-10`

"#]]
    );
    fake.0.borrow_mut().unprivileged = true;
    assert_data_eq!(
        fake.refused("list"),
        str![[r#"
nfwasm: cannot list the filters: Operation not permitted [EPERM]
help: CAP_NET_ADMIN is needed, in the initial user namespace: run it as root (sudo)

"#]]
    );
}

#[test]
fn an_ambiguous_detach_is_refused() {
    let fake = Fake::default();
    fake.do_(&format!(
        "load {ACCEPT} --attach ipv4:input --attach ipv4:input:raw"
    ));
    let (code, _, stderr) = fake.try_do("detach accept ipv4:input");
    assert_eq!(code, 2);
    assert_data_eq!(
        stderr,
        str![[r#"
nfwasm: cannot detach filter `accept` from ipv4:input: several attachments match: 1 is ipv4:input:filter, 2 is ipv4:input:raw
help: give the priority, or --attachment with an id

"#]]
    );
    assert_data_eq!(
        fake.do_("detach accept ipv4:input:raw"),
        str![[r#"
removed attachment 2

"#]]
    );
}

#[test]
fn packets_are_run() {
    let fake = Fake::default();
    fake.do_(&format!("load {ACCEPT}"));
    assert_data_eq!(
        fake.do_("run accept --packet 45000014 --mark 0x10"),
        str![[r#"
verdict    accept
fuel used  4
mark       0x10
tier       jit

"#]]
    );
    assert_data_eq!(
        fake.refused(&format!("run {LOGS} --packet 60:00 --hook input")),
        str![[r#"
nfwasm: cannot run tests/data/logs.wat: an import needs a capability [EACCES]
help: grant the capabilities that it needs: --allow nfw.log,nfw.mark

"#]]
    );
    fake.0.borrow_mut().outcome = Some(Outcome {
        trap: Trap::OutOfFuel as u32,
        fuel_used: 7,
        output: "one\ntwo\x1b[m\n".to_owned(),
        ..Outcome::default()
    });
    let line = format!("run {LOGS} --packet 60 --allow nfw.log,nfw.mark --fuel 7");
    assert_data_eq!(
        fake.do_(&line),
        str![[r#"
verdict    none, trapped: out-of-fuel
fuel used  7
mark       0x0
tier       interp
logged: one
logged: two/u{1b}[m

"#]]
    );
    assert_data_eq!(
        fake.do_(&format!("{line} --json")),
        str![[r#"
{
  "schema": 1,
  "verdict": null,
  "trap": "out-of-fuel",
  "fuel_used": 7,
  "mark": 0,
  "output": [
    "one",
    "two/u001b[m"
  ],
  "tier": "interp"
}

"#]]
    );
    for (line, code) in [
        ("run accept --packet 00", 2),
        ("run accept --packet 45 --fuel 1", 2),
        ("run accept --packet 45 --hook ingress", 2),
        ("run accept --packet 45 --family inet", 2),
        ("run a/b --packet 45", 1),
        ("run accept --packet 00 --family netdev --hook egress", 0),
    ] {
        assert_eq!(fake.try_do(line).0, code, "{line}");
    }
}

#[test]
fn info_shows_limits_and_capabilities() {
    assert_data_eq!(
        Fake::default().do_("info"),
        str![[r#"
nf_wasm          0.1.0
built for        7.3.4+deb13-amd64
ioctl interface  1
guest interface  1
CPUs             2
load stack       peak 9000 of 16384 bytes
packet path      0 allocations
admits           all modules

LIMIT                           MAX  DEFAULT
fuel per packet            10000000   100000
fuel per hook              20000000        -
window bytes                  65535      256
traps until quarantine            -     1000
filters per namespace           256        -
attachments per namespace       512        -
module bytes                1048576        -
signature bytes               65536        -
functions                      4096        -
imports                          64        -
exports                         256        -
data segments                  1024        -
table elements                 4096        -
memory per CPU              4.0 MiB        -
nested blocks                   256        -
name bytes                      256        -

CAPABILITY  ALLOWS A FILTER TO
nfw.packet  load packet bytes beyond the window
nfw.log     write rate-limited lines to the kernel log
nfw.clock   read the monotonic and the wall clock
nfw.mark    read and set the packet's mark
bit-40      (newer than this nfwasm)

"#]]
    );
}

#[test]
fn a_signature_is_found_beside_its_module() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = dir.path().join("accept.wasm");
    let binary = wat::parse_file(ACCEPT).unwrap();
    std::fs::write(&wasm, binary).unwrap();
    let wasm = wasm.to_str().unwrap();
    let origin = |name: &str, line: &str| {
        let fake = Fake::default();
        fake.do_(line);
        let shown = fake.do_(&format!("show {name}"));
        let line = shown.lines().find(|line| line.starts_with("origin"));
        line.unwrap().trim_start_matches("origin").trim().to_owned()
    };
    assert_eq!(origin("accept", &format!("load {wasm}")), "unchecked");

    std::fs::write(format!("{wasm}.p7s"), "good").unwrap();
    assert_eq!(origin("accept", &format!("load {wasm}")), "signature");

    // --signature overrides the default file.
    let bad = format!("{wasm}.bad");
    std::fs::write(&bad, "bad").unwrap();
    let said = Fake::default().refused(&format!("load {wasm} --signature {bad}"));
    assert!(said.contains("the signature is malformed"), "{said}");

    // A module in the text format has no default signature file.
    let text = dir.path().join("text.wat");
    std::fs::copy(ACCEPT, &text).unwrap();
    std::fs::write(dir.path().join("text.wat.p7s"), "bad").unwrap();
    let text = text.to_str().unwrap();
    assert_eq!(origin("text", &format!("load {text}")), "unchecked");

    // The file of --signature must exist.
    let (code, _, said) = Fake::default().try_do(&format!("load {wasm} --signature {wasm}.no"));
    assert_eq!(code, 1);
    assert!(said.contains(".no"), "{said}");
}

#[test]
fn a_manifest_sets_the_snaplen() {
    const MANIFEST: &str = "tests/data/manifest.wat";
    let fake = Fake::default();
    let window = |name: &str| {
        let shown = fake.do_(&format!("show {name}"));
        let line = shown.lines().find(|line| line.starts_with("window"));
        line.map(|line| line["window".len()..].trim().to_owned())
    };
    fake.do_(&format!("load {MANIFEST} --name own"));
    assert_eq!(window("own").as_deref(), Some("64 bytes"));
    fake.do_(&format!("load {MANIFEST} --name told --snaplen 500"));
    assert_eq!(window("told").as_deref(), Some("500 bytes"));
    // Without a manifest, the setting stays.
    fake.do_(&format!("replace told {ACCEPT}"));
    assert_eq!(window("told").as_deref(), Some("500 bytes"));
    fake.do_(&format!("replace told {MANIFEST}"));
    assert_eq!(window("told").as_deref(), Some("64 bytes"));

    for verb in ["load", "replace told", "check"] {
        let (code, _, said) = fake.try_do(&format!("{verb} tests/data/bad-manifest.wat"));
        assert_eq!(code, 1);
        assert_data_eq!(
            said,
            str![[r#"
nfwasm: tests/data/bad-manifest.wat has an invalid manifest: the section nfw.manifest at offset [..]: unknown field `fuel`, expected `snaplen` at line 1 column 7
help: docs/guest-interface.md describes manifests

"#]]
        );
    }
    assert_eq!(window("told").as_deref(), Some("64 bytes"));
}
