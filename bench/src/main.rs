// SPDX-License-Identifier: GPL-2.0-only
//! What filters cost a packet, beside eBPF, nftables and iptables.
//!
//! Packets are sent to a device that drops them, past one contender at a time. Times are virtual
//! nanoseconds, which are instructions if, and only if, QEMU counts them:
//!
//! ```text
//! cargo xtask bench
//! ```

mod contender;
mod ebpf;
mod iptables;
mod loads;
mod measure;
mod nf_wasm;
mod nftables;
mod plot;
mod refusal;
mod report;
mod scaling;
mod sender;
mod shell;
mod workload;

use anyhow::{bail, Result};
use clap::Parser;
use contender::Contender;
use refusal::Refusal;
use report::Report;
use sender::Sender;
use std::path::PathBuf;
use workload::Workload;

/// What filters cost a packet, beside eBPF, nftables and iptables.
#[derive(Parser)]
enum Command {
    /// Measures, and prints a report as JSON.
    Measure {
        /// Beside no filter at all; all of them if none is named.
        #[arg(long)]
        contender: Vec<Contender>,
        /// All of them if none is named.
        workloads: Vec<String>,
    },
    /// Checks that each contender drops what it is to drop, and nothing else.
    Check {
        /// All of them if none is named.
        workloads: Vec<String>,
    },
    /// Sends past nf_wasm for ever, once all has settled, and says so after the kernel's symbols.
    Profile { workload: String },
    /// Measures how costs grow, and prints that as JSON.
    Curves,
    /// Measures loads and replacements, and prints that as JSON.
    Loads,
    /// Measures with all CPUs sending, and prints that as JSON.
    Scaling,
    /// Prints a report as a table.
    Report {
        file: PathBuf,
        /// What was measured, as git calls it.
        #[arg(long)]
        commit: String,
        /// What was printed of curves.
        #[arg(long)]
        curves: Option<PathBuf>,
        /// What was printed of loads.
        #[arg(long)]
        loads: Option<PathBuf>,
        /// What machines with more CPUs printed.
        #[arg(long)]
        scaling: Vec<PathBuf>,
        /// The checkout whose results, table and plots it becomes.
        #[arg(long)]
        publish: Option<PathBuf>,
    },
    /// Fails if a figure is larger in the second report than in the first.
    Compare {
        before: PathBuf,
        after: PathBuf,
        /// By how much it may be.
        #[arg(long)]
        percent: i64,
    },
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Measure {
            contender,
            workloads,
        } => println!(
            "{}",
            serde_json::to_string(&measure::workloads(
                &contender,
                &workloads_named(&workloads)?
            )?)?
        ),
        Command::Check { workloads } => try_all(&workloads)?,
        Command::Curves => println!("{}", serde_json::to_string(&measure::curves()?)?),
        Command::Loads => println!("{}", serde_json::to_string(&loads::measure()?)?),
        Command::Scaling => println!("{}", serde_json::to_string(&scaling::measure()?)?),
        Command::Profile { workload } => be_profiled(&workload)?,
        Command::Report {
            file,
            commit,
            curves,
            loads,
            scaling,
            publish,
        } => {
            let mut report = Report::finish(&file, commit)?;
            if let Some(curves) = curves {
                report.curves = report::read(&curves)?;
            }
            if let Some(loads) = loads {
                report.loads = report::read(&loads)?;
            }
            for file in scaling {
                report.scaling.push(report::read(&file)?);
            }
            print!("{report}");
            if let Some(checkout) = publish {
                report.write(&checkout.join("bench/results/latest.json"))?;
                report.write_tables(&checkout.join("docs/benchmarks.md"))?;
                report.write_tables(&checkout.join("README.md"))?;
                plot::plots(&report, &checkout.join("docs/benchmarks"))?;
            }
        }
        Command::Compare {
            before,
            after,
            percent,
        } => report::read::<Report>(&before)?.compare(&report::read(&after)?, percent)?,
    }
    Ok(())
}

/// The workloads that are named, or all.
fn workloads_named(names: &[String]) -> Result<Vec<Workload>> {
    if names.is_empty() {
        return Ok(Workload::all());
    }
    names.iter().map(|name| Workload::named(name)).collect()
}

/// Checks workloads with every contender, and measures nothing.
fn try_all(names: &[String]) -> Result<()> {
    let workloads = workloads_named(names)?;
    let mut sender = Sender::new()?;
    let mut failed = false;
    for workload in workloads {
        for contender in Contender::ALL {
            let name = contender.name();
            let outcome = match contender.attach(&workload) {
                Ok(_attached) => match measure::check(&workload, contender, &mut sender) {
                    Ok(()) => "ok".to_owned(),
                    Err(error) => format!("FAILED: {error:#}"),
                },
                Err(Refusal::Cannot(reason)) => format!("cannot: {reason}"),
                Err(Refusal::Failed(error)) => format!("FAILED: {error:#}"),
            };
            failed |= outcome.starts_with("FAILED");
            println!("{:<16} {name:<9} {outcome}", workload.name);
        }
    }
    if failed {
        bail!("not every contender does what it is measured for");
    }
    Ok(())
}

/// Sends past nf_wasm for ever, once all has settled, and says so after the kernel's symbols.
fn be_profiled(name: &str) -> Result<()> {
    let workload = Workload::named(name)?;
    let mut sender = Sender::new()?;
    sender.load(&workload.packets);
    let _attached = match Contender::NfWasm.attach(&workload) {
        Ok(attached) => attached,
        Err(Refusal::Cannot(reason)) => bail!(reason),
        Err(Refusal::Failed(error)) => return Err(error),
    };
    sender.settled()?;
    let symbols = std::fs::read_to_string("/proc/kallsyms")?;
    println!("{symbols}READY");
    loop {
        sender.send(1_000)?;
    }
}
