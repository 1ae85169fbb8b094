// SPDX-License-Identifier: MIT OR Apache-2.0
//! The packet as the host presents it.

use nf_wasm_abi::guest::NO_TRANSPORT;

use crate::Context;

/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// Where the packet's transport header is, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// IP protocol number.
    pub protocol: u8,
    /// Offset from the network header; may lie beyond the window.
    pub offset: usize,
}

/// One packet: what the host says of it, and its window.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What the host says of it.
    pub context: &'a Context,
    /// Its first bytes, from the network header on.
    pub window: &'a [u8],
}

impl<'a> Packet<'a> {
    /// A packet of these parts.
    pub const fn new(context: &'a Context, window: &'a [u8]) -> Self {
        Self { context, window }
    }

    /// Its transport header, unless the packet has none: it is not IP, a later fragment, or ends
    /// before.
    #[inline]
    pub fn transport(&self) -> Option<Transport> {
        if self.context.transport_offset == NO_TRANSPORT {
            return None;
        }
        Some(Transport {
            protocol: u8::try_from(self.context.transport_protocol).ok()?,
            offset: usize::try_from(self.context.transport_offset).ok()?,
        })
    }

    /// `N` bytes of the window at `offset`, if they all are in it.
    #[inline]
    pub fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let end = offset.checked_add(N)?;
        self.window.get(offset..end)?.try_into().ok()
    }

    /// The byte at `offset`, if the window has it.
    #[inline]
    pub fn u8(&self, offset: usize) -> Option<u8> {
        self.window.get(offset).copied()
    }

    /// The big-endian `u16` at `offset`, if the window has it.
    #[inline]
    pub fn u16(&self, offset: usize) -> Option<u16> {
        self.bytes(offset).map(u16::from_be_bytes)
    }

    /// The big-endian `u32` at `offset`, if the window has it.
    #[inline]
    pub fn u32(&self, offset: usize) -> Option<u32> {
        self.bytes(offset).map(u32::from_be_bytes)
    }

    /// Source port of a TCP or UDP packet, if the window has it.
    #[inline]
    pub fn source_port(&self) -> Option<u16> {
        self.u16(self.ports()?)
    }

    /// Destination port of a TCP or UDP packet, if the window has it.
    #[inline]
    pub fn destination_port(&self) -> Option<u16> {
        self.u16(self.ports()?.checked_add(2)?)
    }

    #[inline]
    fn ports(&self) -> Option<usize> {
        match self.transport()? {
            Transport {
                protocol: protocol::TCP | protocol::UDP,
                offset,
            } => Some(offset),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_at(offset: u32) -> Context {
        Context {
            transport_offset: offset,
            transport_protocol: 6,
            ..Context::default()
        }
    }

    #[test]
    fn ports_are_read_where_the_host_says() {
        let context = tcp_at(2);
        let packet = Packet::new(&context, &[0, 0, 0x12, 0x34, 0, 23]);
        assert_eq!(packet.source_port(), Some(0x1234));
        assert_eq!(packet.destination_port(), Some(23));
    }

    #[test]
    fn nothing_is_read_beyond_the_window() {
        for offset in [3, 6, NO_TRANSPORT - 1, NO_TRANSPORT] {
            let context = tcp_at(offset);
            let packet = Packet::new(&context, &[0; 6]);
            assert_eq!(packet.destination_port(), None, "at {offset}");
        }
    }

    #[test]
    fn only_tcp_and_udp_have_ports() {
        let context = Context {
            transport_offset: 0,
            transport_protocol: protocol::ICMP.into(),
            ..Context::default()
        };
        assert_eq!(Packet::new(&context, &[0; 8]).source_port(), None);
    }
}
