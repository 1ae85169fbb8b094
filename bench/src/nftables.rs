// SPDX-License-Identifier: GPL-2.0-only
//! Loads a workload as nftables rules.

use crate::refusal::Refusal;
use crate::shell::{self, Undo};
use crate::workload::{Task, Workload};
use nf_wasm_bench_traffic::tables::{flow, prefix, FLOWS};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// No nftables expression reads bytes at an offset that a rule computed from other bytes.
const NO_PARSING: &str = "rules look at bytes in fixed places, and cannot walk a message";

/// Loads the workload's rules.
pub fn attach(workload: &Workload) -> Result<Undo, Refusal> {
    let (sets, rule) = match workload.task {
        Task::AcceptAll => (String::new(), ""),
        Task::BlockTelnet { .. } => (String::new(), "tcp dport 23 drop"),
        Task::Blocklist => (
            set(
                "ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service",
                "",
                (0..FLOWS).map(flow).map(|it| {
                    let addresses = [it.source, it.destination].map(Ipv4Addr::from);
                    format!(
                        "{} . {} . {} . {} . {}",
                        addresses[0],
                        addresses[1],
                        it.protocol,
                        it.source_port,
                        it.destination_port
                    )
                }),
            ),
            "ip saddr . ip daddr . meta l4proto . th sport . th dport @entries drop",
        ),
        Task::Prefixes(count) => (
            set(
                "ipv4_addr",
                "flags interval; auto-merge;",
                (0..count)
                    .map(prefix)
                    .map(|(address, bits)| format!("{}/{bits}", Ipv4Addr::from(address))),
            ),
            "ip saddr @entries drop",
        ),
        Task::TokenBucket => (
            "set sources { type ipv4_addr; flags dynamic; size 4096; }".into(),
            "update @sources { ip saddr limit rate over 10000/second burst 1000 packets } drop",
        ),
        Task::DnsSuffix | Task::Sni => return Err(Refusal::Cannot(NO_PARSING)),
        Task::Histogram => return Err(Refusal::Cannot("rules have no arithmetic on payload")),
        Task::Multitude(count) => return multitude(count),
    };
    load(&format!(
        "table ip bench {{\n{sets}\n chain output {{ type filter hook output priority 0; {rule}\n }}\n}}\n"
    ))
}

fn multitude(count: u32) -> Result<Undo, Refusal> {
    let mut rules = String::from("table ip bench {\n");
    for at in 0..count {
        let _ = writeln!(
            rules,
            "chain output-{at} {{ type filter hook output priority {at}; }}"
        );
    }
    load(&(rules + "}\n"))
}

fn set(kind: &str, flags: &str, entries: impl Iterator<Item = String>) -> String {
    let entries: Vec<_> = entries.collect();
    format!(
        "set entries {{ type {kind}; {flags} elements = {{ {} }} }}",
        entries.join(", ")
    )
}

fn load(rules: &str) -> Result<Undo, Refusal> {
    shell::run_with_input(&["nft", "-f", "-"], rules)?;
    Ok(Undo(&["nft", "delete", "table", "ip", "bench"]))
}
