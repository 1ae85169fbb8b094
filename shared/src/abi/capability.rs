// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capabilities: what a filter may be granted.
//!
//! A capability is the *module name of an import*: a filter that imports `nfw.packet` `load` needs
//! the capability `nfw.packet`. In the ioctl interface a set of capabilities is a `u64` in which
//! each one has a bit; a bit is never given a second meaning.

/// One capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The module name that a guest imports from.
    pub name: &'static str,
    /// Its bit in a set.
    pub bit: u64,
    /// What it lets a filter do, for people.
    pub summary: &'static str,
}

/// Load packet bytes beyond the window.
pub const PACKET: Capability = Capability {
    name: "nfw.packet",
    bit: 1 << 0,
    summary: "load packet bytes beyond the window",
};
/// Write rate-limited lines to the kernel log.
pub const LOG: Capability = Capability {
    name: "nfw.log",
    bit: 1 << 1,
    summary: "write rate-limited lines to the kernel log",
};
/// Read the monotonic and the wall clock.
pub const CLOCK: Capability = Capability {
    name: "nfw.clock",
    bit: 1 << 2,
    summary: "read the monotonic and the wall clock",
};
/// Read and set the packet's mark.
pub const MARK: Capability = Capability {
    name: "nfw.mark",
    bit: 1 << 3,
    summary: "read and set the packet's mark",
};

/// Every capability that this version knows, in the order of their bits.
pub const ALL: [Capability; 4] = [PACKET, LOG, CLOCK, MARK];

/// The set of all known capabilities.
pub const ALL_BITS: u64 = PACKET.bit | LOG.bit | CLOCK.bit | MARK.bit;

/// The capability that a guest names by importing from module `name`.
pub fn by_name(name: &str) -> Option<&'static Capability> {
    ALL.iter().find(|capability| capability.name == name)
}
