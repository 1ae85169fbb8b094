// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest interface, version 1: exports, verdicts and the context.
//!
//! A filter exports `nfw_filter(ctx: i32, pkt: i32, len: i32) -> i32`. `ctx` points to a
//! [`Context`] and `pkt` to the window, the first `len` bytes of the packet from its network
//! header on. Both are in the guest's linear memory. Writes to them do not change the packet.

/// The version of the guest interface that this file describes.
pub const VERSION: u32 = 1;

/// The export that decides a packet: `(ctx: i32, pkt: i32, len: i32) -> i32`.
pub const EXPORT_FILTER: &str = "nfw_filter";
/// Optional export of a WASI reactor: `() -> ()`. It sets up the language's runtime. Called once
/// per instance, before all other exports.
pub const EXPORT_INITIALIZE: &str = "_initialize";
/// The function of wasm-ld that runs the constructors: `() -> ()`. Called if [`EXPORT_INITIALIZE`]
/// is missing. Otherwise `_initialize` calls it.
pub const EXPORT_CONSTRUCTORS: &str = "__wasm_call_ctors";
/// The export of a WASI command, which runs once and is not a filter.
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

/// [`Context::transport_offset`] if the transport header is not known. The protocol then gives the
/// reason: this number too, [`LATER_FRAGMENT`] or [`TRANSPORT_NOT_FOUND`]. Later versions may add
/// numbers above all protocol numbers.
///
/// As the protocol: the packet has no transport header. It is not IP, or IPv6 without a next
/// header.
pub const NO_TRANSPORT: u32 = u32::MAX;
/// [`Context::transport_protocol`] of a fragment after the first: the header is in the first one.
pub const LATER_FRAGMENT: u32 = u32::MAX - 1;
/// [`Context::transport_protocol`] if there may be a transport header that was not found: the
/// packet ends before it, has more extension headers than Linux parses, or claims to be IP but has
/// no IP header.
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

/// The context of a packet. Little-endian, like all of Wasm's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Context {
    /// [`VERSION`]. A later version only appends fields.
    pub version: u32,
    /// Bytes of this struct.
    pub size: u32,
    /// The packet's hook: `NF_INET_*` (0 to 4) for IPv4 and IPv6, `NF_NETDEV_*` (0, 1) for netdev.
    pub hook: u32,
    /// The hook's family: `NFPROTO_IPV4` (2), `NFPROTO_NETDEV` (5) or `NFPROTO_IPV6` (10).
    pub family: u32,
    /// Bytes of the packet from its network header on.
    pub packet_len: u32,
    /// Bytes of the window; the same as `len`.
    pub window_len: u32,
    /// Offset of the transport header from the network header, or [`NO_TRANSPORT`].
    pub transport_offset: u32,
    /// IP protocol number of the transport header, or the reason why it is not known: see
    /// [`NO_TRANSPORT`].
    pub transport_protocol: u32,
    /// Index of the input interface, or 0.
    pub in_ifindex: u32,
    /// Index of the output interface, or 0.
    pub out_ifindex: u32,
    /// The packet's mark.
    pub mark: u32,
    /// One of the `CT_*` numbers.
    pub conntrack_state: u32,
}

impl Context {
    /// Writes the little-endian struct for the guest.
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
