// SPDX-License-Identifier: GPL-2.0-only
//! Measures how many instructions a contender adds to a packet.

use crate::contender::Contender;
use crate::refusal::Refusal;
use crate::report::{Cell, Missing, Point, Report};
use crate::sender::Sender;
use crate::workload::Workload;
use anyhow::{bail, Result};

/// The snaplen for a whole packet, in bytes.
const WHOLE: u32 = 1500;

/// Measures the workloads with the named contenders, or with all if there are no names.
pub fn workloads(contenders: &[Contender], workloads: &[Workload]) -> Result<Report> {
    let mut sender = Sender::new()?;
    let mut report = Report::new()?;
    for workload in workloads {
        let (cells, missing) = row(workload, contenders, &mut sender)?;
        report.results.extend(cells);
        report.missing.extend(missing);
    }
    Ok(report)
}

/// Measures how costs grow with the number of filters, with the number of prefixes in a filter's
/// list, and with the payload.
pub fn curves() -> Result<Vec<Point>> {
    let mut sender = Sender::new()?;
    let mut points = Vec::new();
    let mut add = |curve: &str, x: u32, workload: &Workload| -> Result<()> {
        let (cells, _) = row(workload, &[], &mut sender)?;
        let cells = cells.into_iter().skip(1);
        points.extend(cells.map(|cell| Point {
            curve: curve.to_owned(),
            x,
            contender: cell.contender,
            tier: cell.tier,
            added_instructions: cell.added_instructions,
            spread: cell.spread,
        }));
        Ok(())
    };
    for count in [1, 10, 30, 100] {
        add("filters", count, &Workload::multitude(count))?;
    }
    for count in [10, 100, 1_000, 10_000] {
        add("networks", count, &Workload::prefixes(count))?;
    }
    for payload in [0, 256, 512, 1_024, 1_400] {
        let workload = Workload::block_telnet(Some(WHOLE), payload);
        add("payload-bytes", payload as u32, &workload)?;
    }
    Ok(points)
}

/// Measures one workload. Also returns the cells without a figure.
fn row(
    workload: &Workload,
    contenders: &[Contender],
    sender: &mut Sender,
) -> Result<(Vec<Cell>, Vec<Missing>)> {
    let (mut cells, mut missing) = (Vec::new(), Vec::new());
    sender.load(&workload.packets);
    let nothing = sender.settled()?;
    for contender in Contender::ALL {
        let is_asked_for = contender == Contender::None || contenders.contains(&contender);
        if !contenders.is_empty() && !is_asked_for {
            continue;
        }
        eprintln!("{}: {}", workload.name, contender.name());
        let figure = match contender.attach(workload) {
            Ok(attached) => {
                check(workload, contender, sender)?;
                let figure = sender.settled()?;
                drop(attached);
                figure
            }
            Err(Refusal::Cannot(reason)) => {
                missing.push(Missing {
                    workload: workload.name.clone(),
                    contender: contender.name().to_owned(),
                    reason: reason.to_owned(),
                });
                continue;
            }
            Err(Refusal::Failed(error)) => return Err(error),
        };
        cells.push(Cell {
            workload: workload.name.clone(),
            contender: contender.name().to_owned(),
            tier: contender.tier().map(str::to_owned),
            instructions: figure.instructions,
            added_instructions: figure.instructions - nothing.instructions,
            spread: figure.spread.max(nothing.spread),
        });
    }
    Ok((cells, missing))
}

/// Checks that a contender drops the packets that it has to drop, and no others.
pub fn check(workload: &Workload, contender: Contender, sender: &mut Sender) -> Result<()> {
    let name = contender.name();
    if let Some(bad) = &workload.bad {
        let dropped = sender.dropped(&bad.packet, bad.times)?;
        if (dropped > 0) != (contender != Contender::None) {
            bail!("{}: {name} dropped {dropped} packets", workload.name);
        }
    }
    for packet in &workload.packets {
        if sender.dropped(packet, 1)? > 0 {
            bail!(
                "{}: {name} dropped a packet that has to pass",
                workload.name
            );
        }
    }
    Ok(())
}
