// SPDX-License-Identifier: MIT OR Apache-2.0
//! Converts sets of capabilities between text and the kernel's bits.

use nf_wasm_shared::abi::capability::{self, Capability};

/// Parses one element of `--allow`: a capability's name, with or without `nfw.`, or `none`.
pub fn parse(text: &str) -> Result<u64, String> {
    if text == "none" {
        return Ok(0);
    }
    let full = format!("nfw.{text}");
    capability::by_name(text)
        .or_else(|| capability::by_name(&full))
        .map(|capability| capability.bit)
        .ok_or_else(|| format!("the capabilities are {}, and `none`", all_names()))
}

/// The union of several sets.
pub fn union(sets: &[u64]) -> u64 {
    sets.iter().fold(0, |all, set| all | set)
}

/// The names of all capabilities.
fn all_names() -> String {
    let known: Vec<_> = capability::ALL.iter().map(|known| known.name).collect();
    known.join(", ")
}

/// The help of `--allow`.
pub(crate) fn help() -> String {
    let known = all_names();
    format!("Grant these capabilities: {known} (the `nfw.` may be left out), or `none`")
}

/// The names of a set's members. A capability that this tool does not know is named by its bit.
pub fn names(set: u64) -> Vec<String> {
    (0..u64::BITS)
        .filter(|bit| set & (1 << bit) != 0)
        .map(|bit| match known(1 << bit) {
            Some(capability) => capability.name.to_owned(),
            None => format!("bit-{bit}"),
        })
        .collect()
}

/// The same as one line of text.
pub fn line(set: u64) -> String {
    if set == 0 {
        return "none".to_owned();
    }
    names(set).join(", ")
}

/// The capability with that bit.
pub fn known(bit: u64) -> Option<&'static Capability> {
    capability::ALL
        .iter()
        .find(|capability| capability.bit == bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_may_be_left_out() {
        assert_eq!(parse("nfw.log"), parse("log"));
        assert_eq!(parse("none"), Ok(0));
        assert!(parse("root").unwrap_err().contains("nfw.packet"));
    }

    #[test]
    fn unknown_bits_are_shown() {
        assert_eq!(line(capability::LOG.bit | (1 << 40)), "nfw.log, bit-40");
        assert_eq!(line(0), "none");
    }
}
