// SPDX-License-Identifier: MIT OR Apache-2.0
//! `list` and `show`: show all filters, or one.

use serde::Serialize;

use crate::cli::Show;
use crate::error::{Error, Result};
use crate::output::{self, Output};
use crate::view::{self, Filter};
use crate::Open;

#[derive(Serialize)]
struct Filters {
    filters: Vec<Filter>,
}

#[derive(Serialize)]
struct One {
    filter: Filter,
}

/// Lists the filters of the network namespace.
pub fn list(open: Open<'_>, out: &mut Output<'_>) -> Result {
    let filters = view::filters(&*open()?, "cannot list the filters", None)?;
    let filters = Filters { filters };
    out.either(&filters, |out| {
        if filters.filters.is_empty() {
            return out.line("no filters are loaded in this network namespace");
        }
        let mut table = output::table(
            &[
                "ID",
                "NAME",
                "STATE",
                "TIER",
                "ATTACHMENTS",
                "PACKETS",
                "DROPPED",
                "TRAPS",
                "MEMORY/CPU",
            ],
            &["ID", "PACKETS", "DROPPED", "TRAPS", "MEMORY/CPU"],
        );
        for filter in &filters.filters {
            let attached: Vec<_> = filter
                .attachments
                .iter()
                .map(|attachment| format!("{} {}", attachment.id, attachment.at))
                .collect();
            let attached = if attached.is_empty() {
                "-".to_owned()
            } else {
                attached.join("\n")
            };
            table.add_row([
                filter.id.to_string(),
                filter.name.clone(),
                filter.state.clone(),
                filter.tier.clone(),
                attached,
                filter.counters.packets.to_string(),
                filter.counters.dropped.to_string(),
                filter.counters.trapped.to_string(),
                view::bytes(filter.memory_per_cpu),
            ]);
        }
        out.table(&table)
    })
}

/// Shows one filter in full.
pub fn show(ask: &Show, open: Open<'_>, out: &mut Output<'_>) -> Result {
    let what = format!("cannot show filter {}", ask.filter);
    let filter = view::filters(&*open()?, &what, Some(&ask.filter))?
        .pop()
        .ok_or_else(|| Error::no_filter(&what, &ask.filter))?;
    let one = One { filter };
    out.either(&one, |out| text(&one.filter, out))
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

fn text(filter: &Filter, out: &mut Output<'_>) -> Result {
    let counters = &filter.counters;
    out.pairs(&[
        ("name", filter.name.clone()),
        ("id", filter.id.to_string()),
        ("state", filter.state.clone()),
        ("on trap", filter.trap_policy.clone()),
        (
            "quarantine",
            match filter.quarantine {
                Some(traps) => format!("after {traps} traps in a row on one CPU"),
                None => "never".to_owned(),
            },
        ),
        (
            "recycle",
            match filter.recycle {
                Some(packets) => format!("after {packets} packets on one CPU"),
                None => "never".to_owned(),
            },
        ),
        ("reloads", filter.reloads.to_string()),
        (
            "tier",
            match &filter.tier_reason {
                None => filter.tier.clone(),
                Some(reason) => format!("{}, because {reason}", filter.tier),
            },
        ),
        ("window", format!("{} bytes", filter.snaplen)),
        ("fuel", format!("{} per packet", filter.fuel)),
        ("capabilities", or_none(&filter.capabilities)),
        ("imports from", or_none(&filter.capabilities_used)),
        ("module", format!("{} bytes", filter.module_bytes)),
        (
            "SHA-256",
            filter
                .digest
                .clone()
                .unwrap_or_else(|| "unknown".to_owned()),
        ),
        ("origin", filter.origin.clone()),
        ("replacements", filter.replaced.to_string()),
        (
            "memory",
            format!(
                "{} on each of {} CPUs, {} shared",
                view::bytes(filter.memory_per_cpu),
                filter.instances,
                view::bytes(filter.memory_shared)
            ),
        ),
        (
            "packets",
            format!(
                "{} ({} accepted, {} dropped)",
                counters.packets, counters.accepted, counters.dropped
            ),
        ),
        ("bytes", counters.bytes.to_string()),
        (
            "traps",
            match counters.trapped {
                0 => "0".to_owned(),
                all => format!("{all} ({})", counters.traps.line()),
            },
        ),
        ("quarantined", format!("{} packets", counters.quarantined)),
        ("fuel used", super::stats::fuel(&counters.fuel)),
    ])?;
    if filter.attachments.is_empty() {
        return out.line("no attachments");
    }
    out.line("")?;
    let mut table = output::table(
        &[
            "ATTACHMENT",
            "HOOK",
            "PRIORITY",
            "PACKETS",
            "BYTES",
            "DROPPED",
            "TRAPS",
        ],
        &[
            "ATTACHMENT",
            "PRIORITY",
            "PACKETS",
            "BYTES",
            "DROPPED",
            "TRAPS",
        ],
    );
    for attachment in &filter.attachments {
        table.add_row([
            attachment.id.to_string(),
            attachment.at.clone(),
            attachment.priority.to_string(),
            attachment.counters.packets.to_string(),
            attachment.counters.bytes.to_string(),
            attachment.counters.dropped.to_string(),
            attachment.counters.trapped.to_string(),
        ]);
    }
    out.table(&table)
}
