// SPDX-License-Identifier: GPL-2.0-only
//! Loads a workload as iptables rules.

use crate::refusal::Refusal;
use crate::shell;
use crate::workload::{Task, Workload};
use anyhow::Result;
use nf_wasm_bench_traffic::tables::prefix;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Flushes the rules when it is dropped.
pub struct Rules;

impl Drop for Rules {
    fn drop(&mut self) {
        let commands = [
            &["iptables", "-F"][..],
            &["iptables", "-X"],
            &["nft", "flush", "ruleset"],
            &["ipset", "destroy"],
        ];
        for command in commands {
            if let Err(error) = shell::run(command) {
                eprintln!("{error}");
            }
        }
    }
}

/// Loads the workload's rules.
pub fn attach(workload: &Workload) -> Result<Rules, Refusal> {
    let rules =
        match workload.task {
            Task::AcceptAll => "-A OUTPUT -j ACCEPT\n".into(),
            Task::BlockTelnet { .. } => "-A OUTPUT -p tcp --dport 23 -j DROP\n".into(),
            Task::Blocklist => {
                return Err(Refusal::Cannot("no type of ipset has both ports of a flow"))
            }
            Task::Prefixes(count) => {
                // A fixed hash seed makes the results repeatable.
                let mut sets =
                    String::from("create entries hash:net maxelem 65536 initval 0x6e665f77\n");
                for (address, bits) in (0..count).map(prefix) {
                    let _ = writeln!(
                        sets,
                        "add -exist entries {}/{bits}",
                        Ipv4Addr::from(address)
                    );
                }
                shell::run_with_input(&["ipset", "restore"], &sets)?;
                "-A OUTPUT -m set --match-set entries src -j DROP\n".into()
            }
            Task::TokenBucket => {
                "-A OUTPUT -m hashlimit --hashlimit-name sources --hashlimit-mode srcip \
             --hashlimit-above 10000/sec --hashlimit-burst 1000 -j DROP\n"
                    .into()
            }
            Task::DnsSuffix | Task::Sni => return Err(Refusal::Cannot(
                "xt_bpf runs classic BPF, which has no loops, and xt_string finds a text anywhere",
            )),
            Task::Histogram => {
                return Err(Refusal::Cannot(
                    "xt_bpf runs classic BPF, which has no loops",
                ))
            }
            Task::Multitude(count) => multitude(count),
        };
    let undo = Rules;
    shell::run_with_input(&["iptables-restore"], &format!("*filter\n{rules}COMMIT\n"))?;
    Ok(undo)
}

/// The nearest equivalent to many filters at a hook: chains that return.
fn multitude(count: u32) -> String {
    let mut rules = String::new();
    for at in 0..count {
        let _ = write!(
            rules,
            ":f{at} - [0:0]\n-A f{at} -j RETURN\n-A OUTPUT -j f{at}\n"
        );
    }
    rules
}
