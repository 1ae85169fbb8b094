// SPDX-License-Identifier: MIT OR Apache-2.0
//! The packet as the host presents it.

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

/// Where the packet's transport header is, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// IP protocol number.
    pub protocol: u8,
    /// Offset from the network header; may lie beyond the window.
    pub offset: usize,
}

/// Why a packet shows no transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTransport {
    /// It has none: it is not IP, or IPv6 without a next header.
    None,
    /// It is a fragment, and not the first, which has the header.
    LaterFragment,
    /// It may have one, but it is not to be found: the packet ends before it, or has more extension
    /// headers than the host looks through. A filter that keeps something out drops such packets.
    NotFound,
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

    /// Its transport header, if it shows one; [`Self::find_transport`] says why not.
    #[inline]
    pub fn transport(&self) -> Option<Transport> {
        self.find_transport().ok()
    }

    /// Its transport header, or why it shows none.
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
                // What later hosts say as well.
                _ => NoTransport::NotFound,
            });
        }
        Ok(Transport {
            // Where there is an offset it is a protocol's number; the highest stands for none.
            protocol: protocol.min(255) as u8,
            offset: usize::try_from(offset).map_err(|_| NoTransport::NotFound)?,
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
