// SPDX-License-Identifier: MIT OR Apache-2.0
//! The packet, and its transport header.

use nf_wasm_shared::abi::guest::{LATER_FRAGMENT, NO_TRANSPORT};

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

/// The offset and the protocol of a packet's transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// IP protocol number.
    pub protocol: u8,
    /// Offset from the network header; may lie beyond the window.
    pub offset: usize,
}

/// Why a packet's transport header is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTransport {
    /// The packet has none: it is not IP, or IPv6 without a next header.
    None,
    /// The packet is a fragment after the first. The header is in the first one.
    LaterFragment,
    /// The packet may have one that was not found: the packet ends before it, or has more extension
    /// headers than the host parses. A filter that blocks traffic drops such packets.
    NotFound,
}

/// One packet: its context and its window.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The packet's context.
    pub context: &'a Context,
    /// Its first bytes, from the network header on.
    pub window: &'a [u8],
}

impl<'a> Packet<'a> {
    /// A packet with this context and window.
    pub const fn new(context: &'a Context, window: &'a [u8]) -> Self {
        Self { context, window }
    }

    /// Its transport header, if it is known. [`Self::find_transport`] returns the reason if it is
    /// not.
    #[inline]
    pub fn transport(&self) -> Option<Transport> {
        self.find_transport().ok()
    }

    /// Its transport header, or the reason why it is not known.
    #[inline]
    pub fn find_transport(&self) -> Result<Transport, NoTransport> {
        let (offset, protocol) = (
            self.context.transport_offset,
            self.context.transport_protocol,
        );
        if offset == NO_TRANSPORT {
            return Err(match protocol {
                NO_TRANSPORT => NoTransport::None,
                LATER_FRAGMENT => NoTransport::LaterFragment,
                // Later versions of the host may give other reasons.
                _ => NoTransport::NotFound,
            });
        }
        Ok(Transport {
            // With an offset, this is a protocol number. 255 is reserved, so it stands for larger
            // numbers, which do not occur.
            protocol: protocol.min(255) as u8,
            offset: usize::try_from(offset).map_err(|_| NoTransport::NotFound)?,
        })
    }

    /// `N` bytes of the window at `offset`, if the window has them.
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
    fn what_shows_no_transport_header_says_why() {
        for (protocol, why) in [
            (u32::MAX, NoTransport::None),
            (u32::MAX - 1, NoTransport::LaterFragment),
            (u32::MAX - 2, NoTransport::NotFound),
            (u32::MAX - 3, NoTransport::NotFound),
            (6, NoTransport::NotFound),
        ] {
            let context = Context {
                transport_protocol: protocol,
                ..tcp_at(NO_TRANSPORT)
            };
            let packet = Packet::new(&context, &[0; 6]);
            assert_eq!(packet.find_transport(), Err(why));
            assert_eq!(packet.transport(), None);
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
