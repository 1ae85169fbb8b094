// SPDX-License-Identifier: GPL-2.0-only
//! Compares the cost per packet of filters, eBPF, nftables and iptables.
//!
//! The sender sends packets to a device that drops them, with one contender at a time attached.
//! Times are virtual nanoseconds. They are instructions if, and only if, QEMU counts instructions:
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

/// Compares the cost per packet of filters, eBPF, nftables and iptables.
#[derive(Parser)]
enum Command {
    /// Measures, and prints a report as JSON.
    Measure {
        /// The contenders to measure in addition to no filter [default: all].
        #[arg(long)]
        contender: Vec<Contender>,
        /// The workloads to measure [default: all].
        workloads: Vec<String>,
    },
    /// Checks that each contender drops the packets that it has to drop, and no others.
    Check {
        /// The workloads to check [default: all].
        workloads: Vec<String>,
    },
    /// Sends packets through nf_wasm for ever. Prints the kernel's symbols and READY once the
    /// cost has settled.
    Profile { workload: String },
    /// Measures how costs grow, and prints the results as JSON.
    Curves,
    /// Measures loads and replacements, and prints the results as JSON.
    Loads,
    /// Measures while all CPUs send, and prints the results as JSON.
    Scaling,
    /// Prints a report as a table.
    Report {
        file: PathBuf,
        /// The commit that was measured.
        #[arg(long)]
        commit: String,
        /// The output of `curves`.
        #[arg(long)]
        curves: Option<PathBuf>,
        /// The output of `loads`.
        #[arg(long)]
        loads: Option<PathBuf>,
        /// The output of `scaling`, once for each machine.
        #[arg(long)]
        scaling: Vec<PathBuf>,
        /// The checkout in which to update results, tables and plots.
        #[arg(long)]
        publish: Option<PathBuf>,
    },
    /// Fails if a figure is larger in the second report than in the first.
    Compare {
        before: PathBuf,
        after: PathBuf,
        /// How much larger, in percent, a figure may be.
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

/// The named workloads, or all if there are no names.
fn workloads_named(names: &[String]) -> Result<Vec<Workload>> {
    if names.is_empty() {
        return Ok(Workload::all());
    }
    names.iter().map(|name| Workload::named(name)).collect()
}

/// Checks workloads with every contender. Measures nothing.
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
        bail!("not every contender passed its check");
    }
    Ok(())
}

/// Sends packets through nf_wasm for ever. Prints the kernel's symbols and READY once the cost has
/// settled.
fn be_profiled(name: &str) -> Result<()> {
    if name == "load" {
        return loads::be_profiled();
    }
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
