// SPDX-License-Identifier: MIT OR Apache-2.0
//! `stats`: shows the counters of filters, once or repeatedly.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::Stats;
use crate::device::Device;
use crate::error::Result;
use crate::output::{self, Output};
use crate::view::{self, CountersView, Filter, Fuel};
use crate::Open;

#[derive(Serialize)]
struct Report {
    /// Seconds since the previous report of `--watch`; not in the first report.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    filters: Vec<FilterStats>,
}

#[derive(Serialize)]
struct FilterStats {
    id: u32,
    name: String,
    state: String,
    counters: CountersView,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<Rates>,
    attachments: Vec<AttachmentStats>,
}

#[derive(Serialize)]
struct AttachmentStats {
    id: u32,
    at: String,
    counters: CountersView,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<Rates>,
}

/// Rates per second.
#[derive(Serialize)]
struct Rates {
    packets: f64,
    bytes: f64,
    dropped: f64,
    trapped: f64,
}

/// A filter's id, and the id of one of its attachments or `None` for the filter itself.
type Key = (u32, Option<u32>);

/// The counters of the previous report, to compute rates.
struct Before {
    at: Instant,
    counters: HashMap<Key, CountersView>,
}

impl Before {
    fn new(report: &Report, at: Instant) -> Self {
        let mut counters = HashMap::new();
        for filter in &report.filters {
            counters.insert((filter.id, None), filter.counters.clone());
            for attachment in &filter.attachments {
                let key = (filter.id, Some(attachment.id));
                counters.insert(key, attachment.counters.clone());
            }
        }
        Self { at, counters }
    }

    fn rates(&self, key: Key, now: &CountersView, seconds: f64) -> Option<Rates> {
        let before = self.counters.get(&key)?;
        #[allow(clippy::cast_precision_loss, reason = "rates are rounded")]
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        Some(Rates {
            packets: rate(now.packets, before.packets),
            bytes: rate(now.bytes, before.bytes),
            dropped: rate(now.dropped, before.dropped),
            trapped: rate(now.trapped, before.trapped),
        })
    }
}

/// Shows the counters.
pub fn stats(ask: &Stats, open: Open<'_>, out: &mut Output<'_>) -> Result {
    let device = open()?;
    let Some(interval) = ask.watch else {
        let report = report(&*device, ask, None, Instant::now())?;
        return out.either(&report, |out| text(&report, out));
    };

    let mut before: Option<Before> = None;
    let mut left = ask.count;
    loop {
        let now = Instant::now();
        let report = report(&*device, ask, before.as_ref(), now)?;
        if out.is_json() {
            out.json_line(&report)?;
        } else {
            out.clear()?;
            text(&report, out)?;
            if !out.is_terminal() {
                out.line("")?;
            }
            out.flush()?;
        }
        before = Some(Before::new(&report, now));
        left = left.map(|times| times - 1);
        if left == Some(0) {
            return Ok(());
        }
        thread::sleep(Duration::from_secs_f64(interval));
    }
}

fn report(
    device: &dyn Device,
    ask: &Stats,
    before: Option<&Before>,
    now: Instant,
) -> Result<Report> {
    let what = "cannot read the counters";
    let filters = view::filters(device, what, ask.filter.as_ref())?;
    let seconds = before.map(|before| (now - before.at).as_secs_f64());
    let rates = |key: Key, counters: &CountersView| before?.rates(key, counters, seconds?);
    let with_rates = |filter: Filter| FilterStats {
        rates: rates((filter.id, None), &filter.counters),
        attachments: filter
            .attachments
            .into_iter()
            .map(|attachment| AttachmentStats {
                rates: rates((filter.id, Some(attachment.id)), &attachment.counters),
                id: attachment.id,
                at: attachment.at,
                counters: attachment.counters,
            })
            .collect(),
        id: filter.id,
        name: filter.name,
        state: filter.state,
        counters: filter.counters,
    };
    Ok(Report {
        seconds,
        filters: filters.into_iter().map(with_rates).collect(),
    })
}

/// Formats the counters of fuel.
pub fn fuel(fuel: &Fuel) -> String {
    format!(
        "total {}, min {}, average {}, max {}",
        fuel.total, fuel.min, fuel.average, fuel.max
    )
}

fn text(report: &Report, out: &mut Output<'_>) -> Result {
    if report.filters.is_empty() {
        return out.line("no filters are loaded in this network namespace");
    }
    let mut header = vec![
        "FILTER", "PACKETS", "BYTES", "ACCEPTED", "DROPPED", "TRAPS", "FUEL/MIN", "AVG", "MAX",
    ];
    let watched = report.seconds.is_some();
    if watched {
        header.extend(["PACKETS/S", "BYTES/S", "DROPPED/S"]);
    }
    let mut table = output::table(&header, &header[1..]);
    for filter in &report.filters {
        let name = if filter.state == "active" {
            filter.name.clone()
        } else {
            format!("{} ({})", filter.name, filter.state)
        };
        table.add_row(row(name, &filter.counters, filter.rates.as_ref(), watched));
        for attachment in &filter.attachments {
            let name = format!("  {} {}", attachment.id, attachment.at);
            let rates = attachment.rates.as_ref();
            table.add_row(row(name, &attachment.counters, rates, watched));
        }
    }
    out.table(&table)?;
    for filter in &report.filters {
        let counters = &filter.counters;
        if counters.trapped != 0 {
            out.line(format_args!(
                "{}: traps: {}",
                filter.name,
                counters.traps.line()
            ))?;
        }
        if counters.quarantined != 0 {
            out.line(format_args!(
                "{}: {} packets were decided by the trap policy in quarantine",
                filter.name, counters.quarantined
            ))?;
        }
    }
    Ok(())
}

fn row(name: String, counters: &CountersView, rates: Option<&Rates>, watched: bool) -> Vec<String> {
    let numbers = [
        counters.packets,
        counters.bytes,
        counters.accepted,
        counters.dropped,
        counters.trapped,
        counters.fuel.min,
        counters.fuel.average,
        counters.fuel.max,
    ];
    let mut row = vec![name];
    row.extend(numbers.map(|number| number.to_string()));
    if watched {
        row.extend(match rates {
            Some(rates) => {
                [rates.packets, rates.bytes, rates.dropped].map(|rate| format!("{rate:.0}"))
            }
            None => ["-", "-", "-"].map(str::to_owned),
        });
    }
    row
}
