// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters and attachments in the form that `--json` prints, made from the kernel's listings.

use std::fmt::Write;

use nf_wasm_shared::abi::ioctl::{
    AttachmentEntry, Counters, FilterEntry, DIGEST_LEN, ORIGIN_ALLOWLIST, ORIGIN_SIGNATURE,
    ORIGIN_UNCHECKED, QUARANTINE_NEVER, STATE_ACTIVE, STATE_QUARANTINED, TIER_AUTO, TIER_INTERP,
    TIER_JIT,
};
use nf_wasm_shared::abi::trap::Trap;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::cli::TrapPolicy;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::name::{self, Selector};
use crate::{capabilities, hook};

/// A filter and its attachments.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the ABI's FilterEntry documents them")]
pub struct Filter {
    pub id: u32,
    pub name: String,
    pub state: String,
    pub trap_policy: String,
    pub snaplen: u32,
    pub fuel: u64,
    /// `null` for never.
    pub quarantine: Option<u32>,
    /// `null` for never.
    pub recycle: Option<u32>,
    pub reloads: u64,
    pub capabilities: Vec<String>,
    pub capabilities_used: Vec<String>,
    pub module_bytes: u32,
    /// SHA-256 of the Wasm module; `null` if the kernel module does not report it.
    pub digest: Option<String>,
    /// Why the Wasm module was admitted.
    pub origin: String,
    pub replaced: u32,
    pub memory_per_cpu: u64,
    /// 0 if the kernel module does not report it.
    pub memory_shared: u64,
    pub instances: u32,
    /// The tier: `jit` or `interp`, or `mixed` if CPUs differ.
    pub tier: String,
    /// The tier that the operator requested.
    pub tier_asked: String,
    /// Why the filter is interpreted; `null` if it is not, or if the operator requested that.
    pub tier_reason: Option<String>,
    pub attachments: Vec<Attachment>,
    pub counters: CountersView,
}

/// One attachment.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the ABI's AttachmentEntry documents them")]
pub struct Attachment {
    pub id: u32,
    /// The hook as written on the command line.
    pub at: String,
    pub family: String,
    pub hook: String,
    pub priority: i32,
    pub device: Option<String>,
    pub ifindex: u32,
    pub counters: CountersView,
}

/// Counters of a filter or an attachment.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the ABI's Counters documents them")]
pub struct CountersView {
    pub packets: u64,
    pub bytes: u64,
    pub accepted: u64,
    pub dropped: u64,
    pub quarantined: u64,
    /// Sum of `traps`.
    pub trapped: u64,
    pub traps: Traps,
    pub fuel: Fuel,
}

/// Traps by kind. The JSON has every kind, also with count 0.
#[derive(Clone, Debug)]
pub struct Traps([u64; Trap::COUNT]);

impl Serialize for Traps {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Trap::COUNT))?;
        for (trap, count) in Trap::ALL.iter().zip(self.0) {
            map.serialize_entry(trap.name(), &count)?;
        }
        map.end()
    }
}

impl Traps {
    /// The kinds with a count other than 0.
    pub fn nonzero(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Trap::ALL
            .iter()
            .zip(self.0)
            .filter(|(_, count)| *count != 0)
            .map(|(trap, count)| (trap.name(), count))
    }

    /// The same as one line of text.
    pub fn line(&self) -> String {
        let kinds: Vec<_> = self
            .nonzero()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        kinds.join(", ")
    }
}

/// Fuel that packets used.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Fuel {
    pub total: u64,
    pub min: u64,
    /// Average over the packets on which the filter ran, so without quarantined ones.
    pub average: u64,
    pub max: u64,
}

impl From<&Counters> for CountersView {
    fn from(of: &Counters) -> Self {
        let ran = of.packets.saturating_sub(of.quarantined);
        Self {
            packets: of.packets,
            bytes: of.bytes,
            accepted: of.accepted,
            dropped: of.dropped,
            quarantined: of.quarantined,
            trapped: of
                .traps
                .iter()
                .fold(0, |sum, count| sum.saturating_add(*count)),
            traps: Traps(of.traps),
            fuel: Fuel {
                total: of.fuel_total,
                min: of.fuel_min,
                average: of.fuel_total.checked_div(ran).unwrap_or(0),
                max: of.fuel_max,
            },
        }
    }
}

impl From<&AttachmentEntry> for Attachment {
    fn from(of: &AttachmentEntry) -> Self {
        Self {
            id: of.id,
            at: hook::shown(&of.hook),
            family: hook::family_name(&of.hook),
            hook: hook::hook_name(&of.hook),
            priority: of.hook.priority,
            device: hook::device_name(&of.hook),
            ifindex: of.ifindex,
            counters: (&of.counters).into(),
        }
    }
}

impl Filter {
    fn new(of: &FilterEntry, attachments: &[AttachmentEntry]) -> Self {
        Self {
            id: of.id,
            name: name::shown(&of.name),
            state: match of.state {
                STATE_ACTIVE => "active".to_owned(),
                STATE_QUARANTINED => "quarantined".to_owned(),
                other => format!("state-{other}"),
            },
            trap_policy: TrapPolicy::of(of.trap_policy)
                .map_or_else(|| format!("policy-{}", of.trap_policy), |it| it.to_string()),
            snaplen: of.snaplen,
            fuel: of.fuel,
            quarantine: (of.quarantine != QUARANTINE_NEVER).then_some(of.quarantine),
            recycle: (of.recycle != 0).then_some(of.recycle),
            reloads: of.reloads,
            capabilities: capabilities::names(of.capabilities),
            capabilities_used: capabilities::names(of.capabilities_used),
            module_bytes: of.module_bytes,
            digest: (of.digest != [0; DIGEST_LEN]).then(|| hex(&of.digest)),
            origin: match of.origin {
                ORIGIN_UNCHECKED => "unchecked".to_owned(),
                ORIGIN_SIGNATURE => "signature".to_owned(),
                ORIGIN_ALLOWLIST => "allowlist".to_owned(),
                other => format!("origin-{other}"),
            },
            replaced: of.replaced,
            memory_per_cpu: of.memory_per_cpu,
            memory_shared: of.memory_shared,
            instances: of.instances,
            tier: match of.compiled {
                0 => "interp",
                compiled if compiled >= of.instances => "jit",
                _ => "mixed",
            }
            .to_owned(),
            tier_asked: match of.tier {
                TIER_AUTO => "auto".to_owned(),
                TIER_INTERP => "interp".to_owned(),
                TIER_JIT => "jit".to_owned(),
                other => format!("tier-{other}"),
            },
            tier_reason: Some(name::shown(&of.tier_reason)).filter(|it| !it.is_empty()),
            attachments: attachments
                .iter()
                .filter(|attachment| attachment.filter == of.id)
                .map(Attachment::from)
                .collect(),
            counters: (&of.counters).into(),
        }
    }
}

/// Lists the namespace's filters, or only the one that is `selected`.
pub fn filters(
    device: &dyn Device,
    what: &str,
    selected: Option<&Selector>,
) -> Result<Vec<Filter>> {
    let refused = |refusal: crate::error::Refusal| refusal.while_trying(what, |_| None);
    let mut filters = device.filters().map_err(refused)?;
    if let Some(selector) = selected {
        filters.retain(|filter| selector.selects(filter.id, &filter.name));
        if filters.is_empty() {
            return Err(Error::no_filter(what, selector));
        }
    }
    let attachments = device.attachments().map_err(refused)?;
    Ok(filters
        .iter()
        .map(|filter| Filter::new(filter, &attachments))
        .collect())
}

/// Formats bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Formats a number of bytes with a unit, such as 1.5 KiB.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_with_a_unit() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (4 << 20, "4.0 MiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn the_average_leaves_quarantined_packets_out() {
        let counters = Counters {
            packets: 10,
            quarantined: 6,
            fuel_total: 40,
            ..Counters::default()
        };
        assert_eq!(CountersView::from(&counters).fuel.average, 10);
        assert_eq!(CountersView::from(&Counters::default()).fuel.average, 0);
    }
}
