// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest interface, version 1: what a filter is handed and what it answers.
//!
//! A filter exports `nfw_filter(ctx: i32, pkt: i32, len: i32) -> i32`. `ctx` points to a
//! [`Context`] and `pkt` to the window, the first `len` bytes of the packet from its network
//! header on; both lie in the guest's linear memory, and what the guest writes there stays there.

/// The version of the guest interface that this file describes.
pub const VERSION: u32 = 1;

/// The export that decides a packet: `(ctx: i32, pkt: i32, len: i32) -> i32`.
pub const EXPORT_FILTER: &str = "nfw_filter";
/// Optional export of a library that a toolchain made, a "reactor": `() -> ()`. It sets up what
/// the language needs. Called once per instance, before all other exports.
pub const EXPORT_INITIALIZE: &str = "_initialize";
/// What runs the constructors, in a module that wasm-ld made: `() -> ()`. Called in place of
/// [`EXPORT_INITIALIZE`] where that is missing; where it is not, it makes this call itself.
pub const EXPORT_CONSTRUCTORS: &str = "__wasm_call_ctors";
/// What a module exports that is a program: it runs once, and is no filter.
pub const EXPORT_START: &str = "_start";
/// Optional export, called once per instance in process context: `() -> i32`, 0 for success.
pub const EXPORT_INIT: &str = "nfw_init";
/// Optional export that gives the host a buffer: `(bytes: i32) -> i32`, its 8-aligned address.
/// Without it the host appends pages to the linear memory.
pub const EXPORT_BUF: &str = "nfw_buf";
/// The export that names the linear memory.
pub const EXPORT_MEMORY: &str = "memory";

/// Verdict: drop the packet.
pub const DROP: i32 = 0;
/// Verdict: let the packet go on.
pub const ACCEPT: i32 = 1;

/// [`Context::transport_offset`] where no transport header is shown. The protocol then says why: it
/// is this number too, [`LATER_FRAGMENT`], [`TRANSPORT_NOT_FOUND`], or in later versions something
/// else that is above all protocols' numbers.
///
/// As the protocol: the packet has no transport header. It is not IP, or IPv6 without a next header.
pub const NO_TRANSPORT: u32 = u32::MAX;
/// [`Context::transport_protocol`] of a fragment that is not the first: the header is in that.
pub const LATER_FRAGMENT: u32 = u32::MAX - 1;
/// [`Context::transport_protocol`] where there may be a transport header, but it is not to be found:
/// the packet ends before it, has more extension headers than Linux looks through, or no IP header
/// although it says that it is IP.
pub const TRANSPORT_NOT_FOUND: u32 = u32::MAX - 2;

/// Conntrack has not seen the packet.
pub const CT_NONE: u32 = 0;
/// The packet belongs to an established connection.
pub const CT_ESTABLISHED: u32 = 1;
/// The packet begins a connection that is related to another.
pub const CT_RELATED: u32 = 2;
/// The packet begins a connection.
pub const CT_NEW: u32 = 3;
/// As [`CT_ESTABLISHED`], in the direction of the reply.
pub const CT_ESTABLISHED_REPLY: u32 = 4;
/// As [`CT_RELATED`], in the direction of the reply.
pub const CT_RELATED_REPLY: u32 = 5;
/// Conntrack was told to leave the packet alone.
pub const CT_UNTRACKED: u32 = 8;

/// What the host says of a packet. Little-endian, as all of Wasm's memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Context {
    /// [`VERSION`]. A later version only appends fields.
    pub version: u32,
    /// Bytes of this struct.
    pub size: u32,
    /// Where the packet is: `NF_INET_*` (0 to 4) for IPv4 and IPv6, `NF_NETDEV_*` (0, 1) for
    /// netdev.
    pub hook: u32,
    /// Which family's hook it is: `NFPROTO_IPV4` (2), `NFPROTO_NETDEV` (5) or `NFPROTO_IPV6` (10).
    pub family: u32,
    /// Bytes of the packet from its network header on.
    pub packet_len: u32,
    /// Bytes of the window; the same as `len`.
    pub window_len: u32,
    /// Offset of the transport header from the network header, or [`NO_TRANSPORT`].
    pub transport_offset: u32,
    /// IP protocol number of the transport header; or why there is none, see [`NO_TRANSPORT`].
    pub transport_protocol: u32,
    /// Index of the interface that the packet came in by, or 0.
    pub in_ifindex: u32,
    /// Index of the interface that the packet will leave by, or 0.
    pub out_ifindex: u32,
    /// The packet's mark.
    pub mark: u32,
    /// One of the `CT_*` numbers.
    pub conntrack_state: u32,
}

impl Context {
    /// Writes what the guest sees, little-endian.
    #[inline]
    pub fn write_to(&self, bytes: &mut [u8; size_of::<Self>()]) {
        let fields = [
            self.version,
            self.size,
            self.hook,
            self.family,
            self.packet_len,
            self.window_len,
            self.transport_offset,
            self.transport_protocol,
            self.in_ifindex,
            self.out_ifindex,
            self.mark,
            self.conntrack_state,
        ];
        for (bytes, field) in bytes.chunks_exact_mut(size_of::<u32>()).zip(fields) {
            bytes.copy_from_slice(&field.to_le_bytes());
        }
    }
}
