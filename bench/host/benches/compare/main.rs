// SPDX-License-Identifier: GPL-2.0-only
//! Compares the engine with other engines: the time per packet, with the same filters, in one run.
//!
//! ```text
//! cargo xtask bench --host
//! ```
//!
//! The times are this machine's and are noisy. Look at the table of ratios at the end. nf_wasm
//! counts fuel, and checks and masks every access. The others run with their defaults, without
//! fuel.

mod engines;
mod ratios;

use criterion::Criterion;
use engines::Case;
use nf_wasm_bench_traffic::packets;
use nf_wasm_shared::abi::guest::Context;
use std::time::Duration;

fn main() -> anyhow::Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let cases = cases()?;
    for case in &cases {
        let mut group = criterion.benchmark_group(case.name);
        for (name, make) in engines::ALL {
            let Some(mut engine) = make(case)? else {
                continue;
            };
            anyhow::ensure!(
                engine.call()? == 1,
                "{name} drops a packet that {} accepts",
                case.name
            );
            group.bench_function(name, |bencher| bencher.iter(|| engine.call()));
        }
        group.finish();
    }
    criterion.final_summary();
    ratios::print(&cases)
}

/// The filters, each with a packet that it accepts.
fn cases() -> anyhow::Result<Vec<Case>> {
    use nf_wasm_bench_filters::{blocklist, dns_suffix, histogram, sni};
    use nf_wasm_sdk::Verdict;
    let source = [192, 0, 2, 1];
    let bytes: Vec<u8> = (0..1_400_u32).map(|it| (it * 31) as u8).collect();
    Ok(vec![
        Case {
            native: Some((|| 0, |_| Verdict::Accept)),
            ..case("accept-all", packets::tcp(source, 80, &[0; 64]))?
        },
        case("block-telnet", packets::tcp(source, 80, &[0; 64]))?,
        Case {
            native: Some((blocklist::init, blocklist::decide)),
            ..case("blocklist", packets::udp(source, 9, &[0; 64]))?
        },
        Case {
            native: Some((dns_suffix::init, dns_suffix::decide)),
            ..case("dns-suffix", packets::dns(source, "www.cdn.wikipedia.org"))?
        },
        Case {
            native: Some((sni::init, sni::decide)),
            ..case("sni", packets::client_hello(source, "cdn.wikipedia.org"))?
        },
        Case {
            native: Some((|| 0, histogram::decide)),
            ..case("histogram", packets::udp(source, 9, &bytes))?
        },
    ])
}

/// A filter without a native version.
fn case(name: &'static str, packet: Vec<u8>) -> anyhow::Result<Case> {
    let material = std::env::var("NF_WASM_BENCH_MATERIAL")?;
    let examples = std::env::var("NF_WASM_FILTERS")?;
    let wasm = match name {
        "accept-all" => wat::parse_file(format!("{examples}/accept-all.wat"))?,
        "block-telnet" => std::fs::read(format!("{examples}/block-telnet.wasm"))?,
        _ => std::fs::read(format!("{material}/{name}.wasm"))?,
    };
    let context = Context {
        version: nf_wasm_shared::abi::guest::VERSION,
        size: size_of::<Context>() as u32,
        packet_len: packet.len() as u32,
        window_len: packet.len() as u32,
        transport_offset: 20,
        transport_protocol: packet[9].into(),
        ..Context::default()
    };
    Ok(Case {
        name,
        wasm,
        bpf: std::fs::read(format!("{material}/host/{name}.o")).ok(),
        native: None,
        context,
        packet,
    })
}
