// SPDX-License-Identifier: GPL-2.0-only
//! Attaches eBPF programs of type `BPF_PROG_TYPE_NETFILTER`, from `bench/bpf`.

use crate::workload::{Task, Workload, MATERIAL};
use anyhow::{Context, Result};
use libbpf_rs::{
    Link, MapCore, MapFlags, MapMut, NetfilterOpts, Object, ObjectBuilder, NFPROTO_IPV4,
    NF_INET_LOCAL_OUT,
};
use nf_wasm_bench_traffic::tables::{flow, name, prefix, FLOWS, NAMES};

/// Detaches when it is dropped.
pub struct Linked {
    _links: Vec<Link>,
    _object: Object,
}

/// Loads and attaches the workload's eBPF program.
pub fn attach(workload: &Workload) -> Result<Linked> {
    let file = match workload.task {
        Task::AcceptAll | Task::Multitude(_) => "accept-all",
        Task::BlockTelnet { .. } => "block-telnet",
        Task::Blocklist => "blocklist",
        Task::Prefixes(_) => "prefixes",
        Task::TokenBucket => "token-bucket",
        Task::DnsSuffix => "dns-suffix",
        Task::Sni => "sni",
        Task::Histogram => "histogram",
    };
    let mut object = ObjectBuilder::default()
        .open_file(format!("{MATERIAL}/{file}.bpf.o"))?
        .load()
        .context("the verifier")?;
    if let Some(entries) = object.maps_mut().find(|map| map.name() == "entries") {
        fill(&entries, &workload.task)?;
    }
    let links = match workload.task {
        Task::Multitude(count) => count,
        _ => 1,
    };
    let program = object.progs_mut().next().context("no program")?;
    let links = (0..links).map(|at| {
        program.attach_netfilter_with_opts(NetfilterOpts {
            protocol_family: NFPROTO_IPV4,
            hooknum: NF_INET_LOCAL_OUT,
            priority: at as i32,
            ..NetfilterOpts::default()
        })
    });
    Ok(Linked {
        _links: links.collect::<Result<_, _>>()?,
        _object: object,
    })
}

/// Fills the map that the eBPF program looks packets up in.
fn fill(entries: &MapMut<'_>, task: &Task) -> Result<()> {
    let add = |key: &[u8]| entries.update(key, &[1], MapFlags::ANY);
    match task {
        Task::Blocklist => (0..FLOWS).map(flow).try_for_each(|it| {
            let mut key = Vec::new();
            key.extend(it.source.to_be_bytes());
            key.extend(it.destination.to_be_bytes());
            key.extend(it.source_port.to_be_bytes());
            key.extend(it.destination_port.to_be_bytes());
            key.extend(u32::from(it.protocol).to_ne_bytes());
            add(&key)
        })?,
        Task::Prefixes(count) => (0..*count).map(prefix).try_for_each(|(address, bits)| {
            let mut key = Vec::new();
            key.extend(u32::from(bits).to_ne_bytes());
            key.extend(address.to_be_bytes());
            add(&key)
        })?,
        Task::DnsSuffix | Task::Sni => (0..NAMES).map(name).try_for_each(|name| {
            let push = |hash: u64, byte: &u8| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            };
            let bytes = name.as_bytes().iter().rev();
            add(&bytes.fold(0xcbf2_9ce4_8422_2325, push).to_ne_bytes())
        })?,
        _ => {}
    }
    Ok(())
}
