// SPDX-License-Identifier: GPL-2.0-only
//! Loads and attaches a workload's Wasm filter.

use crate::shell;
use crate::workload::{Task, Workload, MATERIAL};
use anyhow::Result;

/// Names of the loaded filters. Unloads them when it is dropped.
pub struct Loaded(Vec<String>);

impl Drop for Loaded {
    fn drop(&mut self) {
        for name in &self.0 {
            if let Err(error) = shell::run(&["nfwasm", "unload", name]) {
                eprintln!("{error}");
            }
        }
    }
}

/// Loads and attaches the workload's filter, in the tier `tier`.
pub fn attach(workload: &Workload, tier: &str) -> Result<Loaded> {
    let ours = |file: &str| format!("{MATERIAL}/{file}.wasm");
    let example = |file: &str| format!("/usr/share/nf_wasm/filters/{file}");
    let mut loaded = Loaded(Vec::new());
    let mut load = |file: String, priority: u32, options: &[&str]| -> Result<()> {
        let (name, hook) = (
            format!("bench-{priority}"),
            format!("ipv4:output:{priority}"),
        );
        let mut words = vec!["nfwasm", "load", &file, "--name", &name, "--attach", &hook];
        words.extend(["--tier", tier]);
        words.extend(options);
        shell::run(&words)?;
        loaded.0.push(name);
        Ok(())
    };
    match workload.task {
        Task::AcceptAll => load(example("accept-all.wat"), 0, &[]),
        Task::BlockTelnet { snaplen: None } => load(example("block-telnet.wasm"), 0, &[]),
        Task::BlockTelnet {
            snaplen: Some(snaplen),
        } => {
            let snaplen = snaplen.to_string();
            load(example("block-telnet.wasm"), 0, &["--snaplen", &snaplen])
        }
        Task::Blocklist => load(ours("blocklist"), 0, &[]),
        Task::Prefixes(count) => load(ours(&format!("prefixes-{count}")), 0, &[]),
        Task::TokenBucket => load(ours("token-bucket"), 0, &["--allow", "nfw.clock"]),
        Task::DnsSuffix => load(ours("dns-suffix"), 0, &[]),
        Task::Sni => load(ours("sni"), 0, &["--snaplen", "1024"]),
        Task::Histogram => load(ours("histogram"), 0, &["--snaplen", "1500"]),
        Task::Multitude(count) => {
            (0..count).try_for_each(|at| load(example("accept-all.wat"), at, &[]))
        }
    }?;
    Ok(loaded)
}
