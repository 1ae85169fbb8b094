// SPDX-License-Identifier: GPL-2.0-only
//! The tasks that filters are measured with.

use anyhow::{Context, Result};
use nf_wasm_bench_traffic::packets;
use nf_wasm_bench_traffic::tables::{flow, name, prefix, Flow};

/// The folder with the filters and the eBPF programs of `bench/`.
pub const MATERIAL: &str = "/share";
/// Bytes of payload of packets whose payload does not matter.
const PAYLOAD: usize = 64;
/// The number of different packets.
const VARIETY: u8 = 64;

/// The task of a contender.
pub enum Task {
    /// Accept everything.
    AcceptAll,
    /// Drop TCP to port 23. `snaplen` limits nf_wasm's window.
    BlockTelnet { snaplen: Option<u32> },
    /// Drop the flows of [`flow`].
    Blocklist,
    /// Drop packets from the first networks of [`prefix`], as many as the number says.
    Prefixes(u32),
    /// Limit each source to 10,000 packets a second, with bursts of 1,000.
    TokenBucket,
    /// Drop DNS queries for the names of [`name`], and for their subdomains.
    DnsSuffix,
    /// Drop TLS handshakes with the names of [`name`].
    Sni,
    /// Drop datagrams in which nine bytes in ten are equal.
    Histogram,
    /// Accept everything, with so many filters.
    Multitude(u32),
}

/// A packet that has to be dropped.
pub struct Bad {
    pub packet: Vec<u8>,
    /// At least one of so many sends is dropped.
    pub times: u32,
}

/// A task, and the packets to measure it with.
pub struct Workload {
    pub name: String,
    pub task: Task,
    /// The packets that are measured. All pass: a dropped packet would not pay for the rest of the
    /// path.
    pub packets: Vec<Vec<u8>>,
    /// The packet that shows that the contender does its task.
    pub bad: Option<Bad>,
}

impl Workload {
    /// The workload with this name.
    pub fn named(name: &str) -> Result<Self> {
        let all = Self::all();
        let known: Vec<_> = all.iter().map(|it| it.name.clone()).collect();
        all.into_iter()
            .find(|it| it.name == name)
            .with_context(|| format!("there is no workload {name}, but {}", known.join(", ")))
    }

    /// All workloads.
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            row("accept-all", Task::AcceptAll, some(web), None),
            Self::block_telnet(None, PAYLOAD),
            row(
                "blocklist-10000",
                Task::Blocklist,
                some(other_flow),
                Some(packets::of_flow(flow(1_234))),
            ),
        ];
        all.extend([1_000, 10_000].map(Self::prefixes));
        let flood = Bad {
            packet: packets::udp([203, 0, 113, 1], 9, &[0; 64]),
            times: 3_000,
        };
        all.push(Self {
            bad: Some(flood),
            ..row("token-bucket", Task::TokenBucket, sources(), None)
        });
        let listed = name(123);
        let listed = String::from_utf8_lossy(listed.as_bytes());
        all.extend([
            row(
                "dns-suffix-1000",
                Task::DnsSuffix,
                some(|at| packets::dns(source(at), &format!("www.cdn{at}.wikipedia.org"))),
                Some(packets::dns(source(1), &format!("www.{listed}"))),
            ),
            row(
                "sni-1000",
                Task::Sni,
                some(|at| packets::client_hello(source(at), &format!("cdn{at}.wikipedia.org"))),
                Some(packets::client_hello(source(1), &listed)),
            ),
            row(
                "histogram-1400",
                Task::Histogram,
                some(|at| {
                    let bytes = (0..1_400_u32).map(|it| (it * 31 + u32::from(at)) as u8);
                    packets::udp(source(at), 9, &bytes.collect::<Vec<_>>())
                }),
                Some(packets::udp(source(1), 9, &[0x90; 1_400])),
            ),
            Self::multitude(100),
        ]);
        all
    }

    /// Block telnet. Packets have `payload` bytes of payload.
    pub fn block_telnet(snaplen: Option<u32>, payload: usize) -> Self {
        let to_web = |at| packets::tcp(source(at), 80, &vec![0; payload]);
        let telnet = packets::tcp(source(1), 23, &[]);
        let task = Task::BlockTelnet { snaplen };
        row("block-telnet", task, some(to_web), Some(telnet))
    }

    /// Block `count` networks.
    pub fn prefixes(count: u32) -> Self {
        let listed: Vec<_> = (0..count).map(prefix).collect();
        let bad = packets::udp(listed[0].0.to_be_bytes(), 9, &[0; 64]);
        let name = format!("prefixes-{count}");
        row(&name, Task::Prefixes(count), beside(&listed), Some(bad))
    }

    /// `count` filters at one hook.
    pub fn multitude(count: u32) -> Self {
        let name = format!("filters-{count}");
        row(&name, Task::Multitude(count), some(web), None)
    }
}

fn row(name: &str, task: Task, packets: Vec<Vec<u8>>, bad: Option<Vec<u8>>) -> Workload {
    Workload {
        name: name.to_owned(),
        task,
        packets,
        bad: bad.map(|packet| Bad { packet, times: 1 }),
    }
}

/// Makes [`VARIETY`] packets.
fn some(make: impl Fn(u8) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..VARIETY).map(make).collect()
}

/// An address that is on no list.
fn source(at: u8) -> [u8; 4] {
    [192, 0, 2, at]
}

/// A TCP segment to a web server.
fn web(at: u8) -> Vec<u8> {
    packets::tcp(source(at), 80, &[0; PAYLOAD])
}

/// A packet of a flow that differs little from a listed one.
fn other_flow(at: u8) -> Vec<u8> {
    let listed = flow(u32::from(at));
    packets::of_flow(Flow {
        source: listed.source ^ (1 << 23),
        ..listed
    })
}

/// Packets from addresses just before or just after networks of the list.
fn beside(networks: &[(u32, u8)]) -> Vec<Vec<u8>> {
    let is_listed = |address: u32| {
        networks
            .iter()
            .any(|(network, bits)| (address ^ network) >> (32 - bits) == 0)
    };
    let beside: Vec<u32> = networks
        .iter()
        .map(|(network, bits)| network ^ (1 << (32 - bits)))
        .filter(|address| !is_listed(*address))
        .collect();
    some(|at| {
        let address = beside[usize::from(at) % beside.len()];
        packets::udp(address.to_be_bytes(), 9, &[0; PAYLOAD])
    })
}

/// Packets from so many sources that none exceeds its limit.
fn sources() -> Vec<Vec<u8>> {
    (0..128_u32)
        .map(|at| packets::udp((0xc612_0000 + at).to_be_bytes(), 9, &[0; 64]))
        .collect()
}
