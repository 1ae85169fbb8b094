// SPDX-License-Identifier: MIT OR Apache-2.0
//! The documents of `--json`. Programs rely on them: increase `schema` if a member is removed or
//! changes its meaning.

mod fake;

use fake::{Fake, ACCEPT};
use snapbox::{assert_data_eq, str};

#[test]
fn empty_listings() {
    let fake = Fake::default();
    assert_data_eq!(
        fake.do_("list --json"),
        str![[r#"
{
  "schema": 1,
  "filters": []
}

"#]]
    );
    assert_data_eq!(
        fake.do_("stats --json"),
        str![[r#"
{
  "schema": 1,
  "filters": []
}

"#]]
    );
}

#[test]
fn results_of_changes() {
    let fake = Fake::default();
    assert_data_eq!(
        fake.do_(&format!(
            "load {ACCEPT} --attach netdev:ingress@eth0 --json"
        )),
        str![[r#"
{
  "schema": 1,
  "id": 1,
  "name": "accept",
  "attachments": [
    {
      "id": 1,
      "at": "netdev:ingress:filter@eth0",
      "family": "netdev",
      "hook": "ingress",
      "priority": 0,
      "device": "eth0",
      "ifindex": 2,
      "counters": {
        "packets": 0,
        "bytes": 0,
        "accepted": 0,
        "dropped": 0,
        "quarantined": 0,
        "trapped": 0,
        "traps": {
          "unreachable": 0,
          "memory-out-of-bounds": 0,
          "table-out-of-bounds": 0,
          "indirect-call-to-null": 0,
          "bad-signature": 0,
          "integer-division-by-zero": 0,
          "integer-overflow": 0,
          "bad-conversion-to-integer": 0,
          "stack-overflow": 0,
          "out-of-fuel": 0,
          "growth-limited": 0,
          "unknown-verdict": 0,
          "host": 0,
          "reentered": 0,
          "packet": 0,
          "internal": 0
        },
        "fuel": {
          "total": 0,
          "min": 0,
          "average": 0,
          "max": 0
        }
      }
    }
  ]
}

"#]]
    );
    assert_data_eq!(
        fake.do_("attach 1 ipv4:input --json"),
        str![[r#"
{
  "schema": 1,
  "attachment": 2
}

"#]]
    );
    assert_data_eq!(
        fake.do_("detach 1 ipv4:input --json"),
        str![[r#"
{
  "schema": 1,
  "attachment": 2
}

"#]]
    );
    assert_data_eq!(
        fake.do_(&format!("replace 1 {ACCEPT} --json")),
        str![[r#"
{
  "schema": 1,
  "filter": 1
}

"#]]
    );
    assert_data_eq!(
        fake.do_("release accept --json"),
        str![[r#"
{
  "schema": 1,
  "filter": "accept"
}

"#]]
    );
}

#[test]
fn filters() {
    let fake = Fake::with_counters();
    assert_data_eq!(
        fake.do_("list --json"),
        str![[r#"
{
  "schema": 1,
  "filters": [
    {
      "id": 1,
      "name": "accept",
      "state": "quarantined",
      "trap_policy": "drop",
      "snaplen": 256,
      "fuel": 100000,
      "quarantine": 1000,
      "recycle": null,
      "reloads": 0,
      "capabilities": [],
      "capabilities_used": [],
      "module_bytes": 73,
      "digest": "abababababababababababababababababababababababababababababababab",
      "origin": "unchecked",
      "replaced": 0,
      "memory_per_cpu": 100000,
      "memory_shared": 20000,
      "instances": 2,
      "tier": "jit",
      "tier_asked": "auto",
      "tier_reason": null,
      "attachments": [
        {
          "id": 1,
          "at": "inet:prerouting:raw",
          "family": "inet",
          "hook": "prerouting",
          "priority": -300,
          "device": null,
          "ifindex": 0,
          "counters": {
            "packets": 100,
            "bytes": 8400,
            "accepted": 60,
            "dropped": 40,
            "quarantined": 20,
            "trapped": 12,
            "traps": {
              "unreachable": 0,
              "memory-out-of-bounds": 0,
              "table-out-of-bounds": 0,
              "indirect-call-to-null": 0,
              "bad-signature": 0,
              "integer-division-by-zero": 0,
              "integer-overflow": 0,
              "bad-conversion-to-integer": 0,
              "stack-overflow": 0,
              "out-of-fuel": 12,
              "growth-limited": 0,
              "unknown-verdict": 0,
              "host": 0,
              "reentered": 0,
              "packet": 0,
              "internal": 0
            },
            "fuel": {
              "total": 800,
              "min": 5,
              "average": 10,
              "max": 30
            }
          }
        },
        {
          "id": 2,
          "at": "netdev:ingress:filter@eth0",
          "family": "netdev",
          "hook": "ingress",
          "priority": 0,
          "device": "eth0",
          "ifindex": 2,
          "counters": {
            "packets": 0,
            "bytes": 0,
            "accepted": 0,
            "dropped": 0,
            "quarantined": 0,
            "trapped": 0,
            "traps": {
              "unreachable": 0,
              "memory-out-of-bounds": 0,
              "table-out-of-bounds": 0,
              "indirect-call-to-null": 0,
              "bad-signature": 0,
              "integer-division-by-zero": 0,
              "integer-overflow": 0,
              "bad-conversion-to-integer": 0,
              "stack-overflow": 0,
              "out-of-fuel": 0,
              "growth-limited": 0,
              "unknown-verdict": 0,
              "host": 0,
              "reentered": 0,
              "packet": 0,
              "internal": 0
            },
            "fuel": {
              "total": 0,
              "min": 0,
              "average": 0,
              "max": 0
            }
          }
        }
      ],
      "counters": {
        "packets": 100,
        "bytes": 8400,
        "accepted": 60,
        "dropped": 40,
        "quarantined": 20,
        "trapped": 12,
        "traps": {
          "unreachable": 0,
          "memory-out-of-bounds": 0,
          "table-out-of-bounds": 0,
          "indirect-call-to-null": 0,
          "bad-signature": 0,
          "integer-division-by-zero": 0,
          "integer-overflow": 0,
          "bad-conversion-to-integer": 0,
          "stack-overflow": 0,
          "out-of-fuel": 12,
          "growth-limited": 0,
          "unknown-verdict": 0,
          "host": 0,
          "reentered": 0,
          "packet": 0,
          "internal": 0
        },
        "fuel": {
          "total": 800,
          "min": 5,
          "average": 10,
          "max": 30
        }
      }
    }
  ]
}

"#]]
    );
    let list: serde_json::Value = serde_json::from_str(&fake.do_("list --json")).unwrap();
    let show: serde_json::Value = serde_json::from_str(&fake.do_("show 1 --json")).unwrap();
    assert_eq!(list["filters"][0], show["filter"]);
}

#[test]
fn stats() {
    assert_data_eq!(
        Fake::with_counters().do_("stats accept --json"),
        str![[r#"
{
  "schema": 1,
  "filters": [
    {
      "id": 1,
      "name": "accept",
      "state": "quarantined",
      "counters": {
        "packets": 100,
        "bytes": 8400,
        "accepted": 60,
        "dropped": 40,
        "quarantined": 20,
        "trapped": 12,
        "traps": {
          "unreachable": 0,
          "memory-out-of-bounds": 0,
          "table-out-of-bounds": 0,
          "indirect-call-to-null": 0,
          "bad-signature": 0,
          "integer-division-by-zero": 0,
          "integer-overflow": 0,
          "bad-conversion-to-integer": 0,
          "stack-overflow": 0,
          "out-of-fuel": 12,
          "growth-limited": 0,
          "unknown-verdict": 0,
          "host": 0,
          "reentered": 0,
          "packet": 0,
          "internal": 0
        },
        "fuel": {
          "total": 800,
          "min": 5,
          "average": 10,
          "max": 30
        }
      },
      "attachments": [
        {
          "id": 1,
          "at": "inet:prerouting:raw",
          "counters": {
            "packets": 100,
            "bytes": 8400,
            "accepted": 60,
            "dropped": 40,
            "quarantined": 20,
            "trapped": 12,
            "traps": {
              "unreachable": 0,
              "memory-out-of-bounds": 0,
              "table-out-of-bounds": 0,
              "indirect-call-to-null": 0,
              "bad-signature": 0,
              "integer-division-by-zero": 0,
              "integer-overflow": 0,
              "bad-conversion-to-integer": 0,
              "stack-overflow": 0,
              "out-of-fuel": 12,
              "growth-limited": 0,
              "unknown-verdict": 0,
              "host": 0,
              "reentered": 0,
              "packet": 0,
              "internal": 0
            },
            "fuel": {
              "total": 800,
              "min": 5,
              "average": 10,
              "max": 30
            }
          }
        },
        {
          "id": 2,
          "at": "netdev:ingress:filter@eth0",
          "counters": {
            "packets": 0,
            "bytes": 0,
            "accepted": 0,
            "dropped": 0,
            "quarantined": 0,
            "trapped": 0,
            "traps": {
              "unreachable": 0,
              "memory-out-of-bounds": 0,
              "table-out-of-bounds": 0,
              "indirect-call-to-null": 0,
              "bad-signature": 0,
              "integer-division-by-zero": 0,
              "integer-overflow": 0,
              "bad-conversion-to-integer": 0,
              "stack-overflow": 0,
              "out-of-fuel": 0,
              "growth-limited": 0,
              "unknown-verdict": 0,
              "host": 0,
              "reentered": 0,
              "packet": 0,
              "internal": 0
            },
            "fuel": {
              "total": 0,
              "min": 0,
              "average": 0,
              "max": 0
            }
          }
        }
      ]
    }
  ]
}

"#]]
    );
}

#[test]
fn info() {
    assert_data_eq!(
        Fake::default().do_("info --json"),
        str![[r#"
{
  "schema": 1,
  "version": "0.1.0",
  "built_for": "7.3.4+deb13-amd64",
  "abi_version": 1,
  "guest_version": 1,
  "cpus": 2,
  "capabilities": [
    {
      "name": "nfw.packet",
      "summary": "load packet bytes beyond the window"
    },
    {
      "name": "nfw.log",
      "summary": "write rate-limited lines to the kernel log"
    },
    {
      "name": "nfw.clock",
      "summary": "read the monotonic and the wall clock"
    },
    {
      "name": "nfw.mark",
      "summary": "read and set the packet's mark"
    },
    {
      "name": "bit-40",
      "summary": null
    }
  ],
  "limits": {
    "module_bytes": 1048576,
    "functions": 4096,
    "imports": 64,
    "exports": 256,
    "data_segments": 1024,
    "table_elements": 4096,
    "memory_pages": 64,
    "nesting": 256,
    "name_bytes": 256,
    "filters": 256,
    "attachments": 512,
    "snaplen": 65535,
    "fuel": 10000000,
    "hook_fuel": 20000000,
    "signature_bytes": 65536
  },
  "defaults": {
    "snaplen": 256,
    "quarantine": 1000,
    "fuel": 100000
  },
  "load_stack": {
    "peak": 9000,
    "size": 16384
  },
  "packet_path_allocations": 0,
  "admission": {
    "require_signature": false,
    "locked_down": false,
    "allowed_digests": 0
  }
}

"#]]
    );
}

#[test]
fn errors() {
    let (code, stdout, stderr) = Fake::default().try_do("unload nobody --json");
    assert_eq!(code, 4);
    assert_data_eq!(
        stdout,
        str![[r#"
{
  "schema": 1,
  "error": {
    "kind": "refused",
    "exit_code": 4,
    "what": "cannot unload filter `nobody`",
    "why": "no filter `nobody`",
    "errno": "ENOENT",
    "help": null
  }
}

"#]]
    );
    assert!(stderr.contains("nobody"));
}
