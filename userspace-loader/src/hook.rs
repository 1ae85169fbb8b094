// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses and prints hooks: `FAMILY:HOOK[:PRIORITY][@DEVICE]`.

use std::fmt;
use std::str::FromStr;

use nf_wasm_shared::abi::hook as table;
use nf_wasm_shared::abi::ioctl::{self, DEVICE_LEN};

use crate::name;

/// The help of `--attach`.
pub(crate) fn help() -> String {
    let list = |names: Vec<&str>| {
        let (last, others) = names.split_last().expect("a table is not empty");
        format!("{} or {last}", others.join(", "))
    };
    let names = |family: Family| list(family.hooks().iter().map(|hook| hook.name).collect());
    let priorities: Vec<_> = table::PRIORITIES.iter().map(|(name, _)| *name).collect();
    format!(
        "Attach to this hook; may be given several times\n\n\
         FAMILY is ipv4, ipv6, inet (both) or netdev. HOOK is {}. For netdev, HOOK is {}, and \
         DEVICE is required. PRIORITY is a number or one of nftables' names ({}), with or without \
         an offset, as in `filter-10`. Lower priorities run first. The default is `filter`.",
        names(Family::Inet),
        names(Family::Netdev),
        priorities.join(", ")
    )
}

/// A family of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// One device.
    Netdev,
}

impl Family {
    const ALL: [Family; 4] = [Self::Inet, Self::Ipv4, Self::Ipv6, Self::Netdev];

    /// The ABI's number of the family.
    pub const fn number(self) -> u32 {
        match self {
            Self::Inet => ioctl::FAMILY_INET,
            Self::Ipv4 => ioctl::FAMILY_IPV4,
            Self::Ipv6 => ioctl::FAMILY_IPV6,
            Self::Netdev => ioctl::FAMILY_NETDEV,
        }
    }

    /// The family's name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Netdev => "netdev",
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|family| family.number() == number)
    }

    /// The family's hooks.
    fn hooks(self) -> &'static [table::Place] {
        table::Family::by_number(self.number()).map_or(&[], |family| family.hooks)
    }

    /// The number of the family's hook called `name`.
    pub fn hook(self, name: &str) -> Result<u32, String> {
        if let Some(hook) = self.hooks().iter().find(|hook| hook.name == name) {
            return Ok(hook.number);
        }
        let hooks: Vec<_> = self.hooks().iter().map(|hook| hook.name).collect();
        Err(format!(
            "the hooks of {} are {}",
            self.name(),
            hooks.join(", ")
        ))
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|family| family.name() == text)
            .ok_or_else(|| "the families are inet, ipv4, ipv6, netdev".to_owned())
    }
}

/// The named priorities that a hook has.
fn priorities(family: u32, hook: u32) -> impl Iterator<Item = (&'static str, i32)> {
    table::Family::by_number(family)
        .and_then(|family| family.hook(hook))
        .into_iter()
        .flat_map(table::Place::priorities)
}

/// Parses a priority: a number, or a name with or without an offset, such as `filter-10` or
/// `mangle + 5`.
fn parse_priority(text: &str, family: Family, hook: u32) -> Result<i32, String> {
    let text: String = text.split_whitespace().collect();
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let names = || {
        let names: Vec<_> = priorities(family.number(), hook)
            .map(|(name, _)| name)
            .collect();
        format!(
            "a priority is a number, or one of {} with or without an offset, as in `filter-10`",
            names.join(", ")
        )
    };
    let (name, offset) = match text.find(['+', '-']) {
        Some(at) => text.split_at(at),
        None => (text.as_str(), "0"),
    };
    let base = priorities(family.number(), hook)
        .find(|(known, _)| *known == name)
        .ok_or_else(names)?
        .1;
    let offset: i32 = offset.parse().map_err(|_| names())?;
    base.checked_add(offset).ok_or_else(names)
}

/// Formats a priority. Within 10 of a named one, it is written with that name.
fn shown_priority(priority: i32, family: u32, hook: u32) -> String {
    for (name, number) in priorities(family, hook) {
        match i64::from(priority) - i64::from(number) {
            0 => return name.to_owned(),
            offset @ -10..=10 => return format!("{name}{offset:+}"),
            _ => {}
        }
    }
    priority.to_string()
}

/// A hook, with or without a priority. Selects attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    family: Family,
    hook: u32,
    priority: Option<i32>,
    device: [u8; DEVICE_LEN],
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, device) = match text.split_once('@') {
            Some((place, device)) => (place, Some(device)),
            None => (text, None),
        };
        let mut parts = place.splitn(3, ':');
        let family: Family = parts.next().unwrap_or_default().parse()?;
        let hook = parts
            .next()
            .ok_or("a hook is written FAMILY:HOOK[:PRIORITY][@DEVICE]")?;
        let hook = family.hook(hook)?;
        let priority = match parts.next() {
            Some(priority) => Some(parse_priority(priority, family, hook)?),
            None => None,
        };
        let device = match (family, device) {
            (Family::Netdev, Some(device)) => parse_device(device)?,
            (Family::Netdev, None) => {
                return Err("netdev needs a device, as in netdev:ingress@eth0".to_owned())
            }
            (_, Some(_)) => return Err(format!("{} takes no device", family.name())),
            (_, None) => [0; DEVICE_LEN],
        };
        Ok(Self {
            family,
            hook,
            priority,
            device,
        })
    }
}

/// Parses a device's name by the kernel's rules.
fn parse_device(text: &str) -> Result<[u8; DEVICE_LEN], String> {
    let odd = |c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace();
    if text.is_empty() || text.len() >= DEVICE_LEN {
        return Err(format!("a device's name has 1 to {} bytes", DEVICE_LEN - 1));
    }
    if text == "." || text == ".." || text.contains(odd) {
        return Err(format!("{text:?} cannot be a device's name"));
    }
    let mut device = [0; DEVICE_LEN];
    device[..text.len()].copy_from_slice(text.as_bytes());
    Ok(device)
}

impl Pattern {
    /// Whether an attachment at `hook` matches.
    pub fn matches(&self, hook: &ioctl::Hook) -> bool {
        hook.family == self.family.number()
            && hook.hook == self.hook
            && hook.device == self.device
            && self
                .priority
                .is_none_or(|priority| hook.priority == priority)
    }

    fn to_hook(&self) -> ioctl::Hook {
        ioctl::Hook {
            family: self.family.number(),
            hook: self.hook,
            priority: self.priority.unwrap_or(0),
            reserved: 0,
            device: self.device,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Shown(&self.to_hook(), self.priority.is_some()).to_string();
        f.write_str(&shown)
    }
}

/// Parses a hook to attach to. The default priority is `filter`.
pub fn parse(text: &str) -> Result<ioctl::Hook, String> {
    text.parse::<Pattern>().map(|pattern| pattern.to_hook())
}

/// Formats a hook as it is written on the command line.
pub fn shown(hook: &ioctl::Hook) -> String {
    Shown(hook, true).to_string()
}

/// The name of a hook's family.
pub fn family_name(hook: &ioctl::Hook) -> String {
    match Family::from_number(hook.family) {
        Some(family) => family.name().to_owned(),
        None => format!("family-{}", hook.family),
    }
}

/// The name of a hook in its family.
pub fn hook_name(hook: &ioctl::Hook) -> String {
    let hooks = Family::from_number(hook.family).map_or(&[][..], Family::hooks);
    match hooks.iter().find(|place| place.number == hook.hook) {
        Some(place) => place.name.to_owned(),
        None => format!("hook-{}", hook.hook),
    }
}

/// The name of a hook's device, if it has one.
pub fn device_name(hook: &ioctl::Hook) -> Option<String> {
    (hook.device[0] != 0).then(|| name::shown(&hook.device))
}

struct Shown<'a>(&'a ioctl::Hook, bool);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(hook, with_priority) = self;
        write!(f, "{}:{}", family_name(hook), hook_name(hook))?;
        if *with_priority {
            let priority = shown_priority(hook.priority, hook.family, hook.hook);
            write!(f, ":{priority}")?;
        }
        match device_name(hook) {
            Some(device) => write!(f, "@{device}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_parsed_and_printed() {
        for (text, same) in [
            ("ipv4:input", "ipv4:input:filter"),
            ("ipv6:prerouting:raw", "ipv6:prerouting:raw"),
            ("inet:output:-100", "inet:output:dstnat"),
            ("inet:output:filter - 10", "inet:output:filter-10"),
            ("ipv4:forward:mangle + 5", "ipv4:forward:mangle+5"),
            ("ipv4:forward:-100", "ipv4:forward:-100"),
            ("ipv4:postrouting:srcnat", "ipv4:postrouting:srcnat"),
            ("ipv4:input:2147483647", "ipv4:input:2147483647"),
            ("netdev:ingress@eth0", "netdev:ingress:filter@eth0"),
            ("netdev:egress:-300@a@b", "netdev:egress:-300@a@b"),
        ] {
            assert_eq!(parse(text).map(|hook| shown(&hook)).as_deref(), Ok(same));
        }
    }

    #[test]
    fn invalid_hooks_are_explained() {
        for (text, says) in [
            ("", "families"),
            ("arp:input", "families"),
            ("ipv4", "FAMILY:HOOK"),
            ("ipv4:ingress", "prerouting"),
            ("netdev:input@eth0", "ingress, egress"),
            ("netdev:ingress", "needs a device"),
            ("netdev:ingress:raw@eth0", "one of filter with"),
            ("ipv4:input@eth0", "takes no device"),
            ("ipv4:input:dstnat", "priority"),
            ("ipv4:input:filter+", "priority"),
            ("ipv4:input:filter+99999999999", "priority"),
            ("ipv4:input:raw-2147483647", "priority"),
            ("ipv4:input:1:2", "priority"),
            ("netdev:ingress@", "1 to 15"),
            ("netdev:ingress@0123456789abcdef", "1 to 15"),
            ("netdev:ingress@a/b", "cannot be"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }

    #[test]
    fn unknown_numbers_are_shown() {
        let hook = ioctl::Hook {
            family: 77,
            hook: 9,
            ..ioctl::Hook::default()
        };
        assert_eq!(shown(&hook), "family-77:hook-9:0");
    }

    #[test]
    fn a_pattern_without_priority_matches_all() {
        let pattern: Pattern = "ipv4:input".parse().unwrap();
        assert!(pattern.matches(&parse("ipv4:input:raw").unwrap()));
        assert!(!pattern.matches(&parse("ipv6:input").unwrap()));
        let pattern: Pattern = "ipv4:input:0".parse().unwrap();
        assert!(!pattern.matches(&parse("ipv4:input:raw").unwrap()));
    }
}
