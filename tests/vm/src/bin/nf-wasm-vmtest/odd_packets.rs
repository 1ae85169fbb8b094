// SPDX-License-Identifier: GPL-2.0-only
//! Malformed packets. The three versions of block-telnet must agree on each.

use etherparse::PacketBuilder;
use nf_wasm_shared::abi::guest::{LATER_FRAGMENT, NO_TRANSPORT, TRANSPORT_NOT_FOUND};
use nf_wasm_shared::abi::ioctl::{Hook, FAMILY_INET, HOOK_INGRESS, HOOK_PREROUTING};
use nf_wasm_tests::device::{hook, netdev, Spec};
use nf_wasm_tests::net::{mac, Net};
use nf_wasm_tests::{eventually, wasm, BLOCK_TELNET};

crate::tests![
    block_telnets_agree_on_odd_packets,
    a_truncated_frame_is_seen_at_ingress,
    frames_that_are_not_ip_have_no_transport,
    what_shows_no_transport_header_says_why,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
}
use Verdict::{Accept, Drop};

const CLIENT: [u8; 4] = [10, 77, 1, 1];
const SERVER: [u8; 4] = [10, 77, 1, 2];

/// An IPv4 packet to the server, with `options` bytes of options.
fn ipv4(options: usize, protocol: u8, payload: &[u8]) -> Vec<u8> {
    assert!(options % 4 == 0 && options <= 40);
    let header = 20 + options;
    let mut packet = vec![0; header];
    packet[0] = 0x40 | (header / 4) as u8;
    let total = (header + payload.len()) as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&CLIENT);
    packet[16..20].copy_from_slice(&SERVER);
    // No-operation options.
    packet[20..].fill(1);
    set_checksum(&mut packet);
    packet.extend_from_slice(payload);
    packet
}

/// An IPv6 packet to the server.
fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    packet[6] = next_header;
    packet[7] = 64;
    packet[8..24].copy_from_slice(&[0xfd, 0x77, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet[24..40].copy_from_slice(&[0xfd, 0x77, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend_from_slice(payload);
    packet
}

/// A hop-by-hop or destination options header of `units` times eight bytes.
fn options(next_header: u8, units: usize) -> Vec<u8> {
    let mut header = vec![0; units * 8];
    header[0] = next_header;
    header[1] = (units - 1) as u8;
    // PadN options fill the rest. Their length field has one byte.
    let mut at = 2;
    while at < header.len() {
        let len = (header.len() - at - 2).min(200);
        header[at] = 1;
        header[at + 1] = len as u8;
        at += 2 + len;
        if header.len() - at == 1 {
            break; // Pad1
        }
    }
    header
}

fn tcp(port: u16) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[0..2].copy_from_slice(&40_000_u16.to_be_bytes());
    header[2..4].copy_from_slice(&port.to_be_bytes());
    header[12] = 0x50;
    header[13] = 2; // SYN
    header
}

/// `count` destination options headers of eight bytes, then TCP to `port`.
fn behind(count: usize, port: u16) -> Vec<u8> {
    let mut payload = Vec::new();
    for left in (0..count).rev() {
        payload.extend(options(if left == 0 { TCP } else { DESTINATION }, 1));
    }
    payload.extend(tcp(port));
    ipv6(if count == 0 { TCP } else { DESTINATION }, &payload)
}

/// An IPv6 first fragment that ends within its extension headers.
fn cut_by_fragmentation() -> Vec<u8> {
    let options = &options(TCP, 8)[..16];
    ipv6(
        FRAGMENT,
        &joined(&[&fragment(DESTINATION, 0, true), options]),
    )
}

/// A fragment extension header.
fn fragment(next_header: u8, offset_units: u16, more: bool) -> Vec<u8> {
    let field = (offset_units << 3) | u16::from(more);
    let [high, low] = field.to_be_bytes();
    vec![next_header, 0, high, low, 0, 0, 0, 7]
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const NO_NEXT_HEADER: u8 = 59;

/// Packets that pass the kernel's checks before prerouting, with block-telnet's decision.
fn odd_packets() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    let telnet = tcp(23);
    let web = tcp(80);
    let mut later_v4 = ipv4(0, TCP, &telnet);
    later_v4[6..8].copy_from_slice(&0x2001_u16.to_be_bytes());
    set_checksum(&mut later_v4);
    let mut packets = vec![
        ("telnet", ipv4(0, TCP, &telnet), Drop),
        ("web", ipv4(0, TCP, &web), Accept),
        ("UDP to 23", ipv4(0, UDP, &telnet), Accept),
        (
            "telnet after 40 bytes of options",
            ipv4(40, TCP, &telnet),
            Drop,
        ),
        ("web after 40 bytes of options", ipv4(40, TCP, &web), Accept),
        ("no TCP header", ipv4(0, TCP, &[]), Drop),
        ("1 byte of TCP header", ipv4(0, TCP, &telnet[..1]), Drop),
        ("3 bytes of TCP header", ipv4(0, TCP, &web[..3]), Drop),
        (
            "telnet, 4 bytes of TCP header",
            ipv4(0, TCP, &telnet[..4]),
            Drop,
        ),
        (
            "web, 4 bytes of TCP header",
            ipv4(0, TCP, &web[..4]),
            Accept,
        ),
        ("a later fragment", later_v4, Accept),
        ("telnet over IPv6", ipv6(TCP, &telnet), Drop),
        ("web over IPv6", ipv6(TCP, &web), Accept),
        ("IPv6, nothing follows", ipv6(NO_NEXT_HEADER, &[]), Accept),
        (
            "IPv6, no next header, then telnet",
            ipv6(NO_NEXT_HEADER, &telnet),
            Accept,
        ),
        ("IPv6, 3 bytes of TCP header", ipv6(TCP, &web[..3]), Drop),
    ];
    for (name, port, verdict) in [("telnet", &telnet, Drop), ("web", &web, Accept)] {
        let name = |text: &str| -> &'static str { format!("{name} {text}").leak() };
        packets.push((
            name("after destination options"),
            ipv6(DESTINATION, &joined(&[&options(TCP, 2), port])),
            verdict,
        ));
        packets.push((
            name("after hop-by-hop and two destination options"),
            ipv6(
                HOP_BY_HOP,
                &joined(&[
                    &options(DESTINATION, 1),
                    &options(DESTINATION, 3),
                    &options(TCP, 1),
                    port,
                ]),
            ),
            verdict,
        ));
        packets.push((
            name("in a first fragment"),
            ipv6(FRAGMENT, &joined(&[&fragment(TCP, 0, true), port])),
            verdict,
        ));
        packets.push((
            name("in a later fragment"),
            ipv6(FRAGMENT, &joined(&[&fragment(TCP, 100, false), port])),
            Accept,
        ));
        // The window has 256 bytes, so the port is beyond it.
        packets.push((
            name("after 320 bytes of destination options"),
            ipv6(DESTINATION, &joined(&[&options(TCP, 40), port])),
            Drop,
        ));
    }
    packets.push((
        "IPv6, options that are cut off",
        ipv6(DESTINATION, &[TCP, 5, 0, 0]),
        Drop,
    ));
    packets.push((
        "IPv6, a routing header that is cut off",
        ipv6(ROUTING, &[TCP]),
        Drop,
    ));
    for (what, count, port, verdict) in [
        ("telnet behind 12 headers", 12, 23, Drop),
        ("web behind 12 headers", 12, 80, Accept),
        // More headers than Linux parses.
        ("telnet behind 13 headers", 13, 23, Drop),
        ("web behind 13 headers", 13, 80, Drop),
        ("telnet behind 14 headers", 14, 23, Drop),
    ] {
        packets.push((what, behind(count, port), verdict));
    }
    packets.push((
        "IPv6, a first fragment that ends in its headers",
        cut_by_fragmentation(),
        Drop,
    ));
    packets.push((
        "IPv6, a first fragment that ends behind its headers",
        ipv6(
            FRAGMENT,
            &joined(&[&fragment(DESTINATION, 0, true), &options(TCP, 1)]),
        ),
        Drop,
    ));
    packets.push((
        "IPv6, a later fragment of headers",
        ipv6(
            FRAGMENT,
            &joined(&[&fragment(DESTINATION, 2, false), &telnet]),
        ),
        Accept,
    ));
    packets.push((
        "IPv6, telnet in a fragment that is alone",
        ipv6(FRAGMENT, &joined(&[&fragment(TCP, 0, false), &telnet])),
        Drop,
    ));
    packets.push((
        "IPv6, no next header behind options",
        ipv6(
            DESTINATION,
            &joined(&[&options(NO_NEXT_HEADER, 1), &telnet]),
        ),
        Accept,
    ));
    packets
}

/// Writes the checksum of an IPv4 header.
fn set_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let header = usize::from(packet[0] & 15) * 4;
    let pairs = packet[..header].chunks(2);
    let sum: u32 = pairs
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// The packet in a frame from client to server.
fn frame(packet: &[u8]) -> Vec<u8> {
    let ether_type: u16 = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
    framed(ether_type, packet)
}

fn framed(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&mac(1, 2));
    frame.extend_from_slice(&mac(1, 1));
    frame.extend_from_slice(&ether_type.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn block_telnets_agree_on_odd_packets() {
    let net = Net::pair();
    let mut frames = net.client.frames("to-server");
    for place in [
        hook(FAMILY_INET, HOOK_PREROUTING, 0),
        netdev(HOOK_INGRESS, "to-client"),
    ] {
        for file in BLOCK_TELNET {
            let spec = Spec::new("block-telnet", wasm::example(file)).at(place);
            let filter = net.server.load(spec);
            let mut before = filter.counters();
            for (what, packet, verdict) in odd_packets() {
                frames.send(&frame(&packet));
                let counters = eventually(what, || {
                    Some(filter.counters()).filter(|now| now.packets > before.packets)
                });
                let said = match (
                    counters.accepted - before.accepted,
                    counters.dropped - before.dropped,
                ) {
                    (1, 0) => Accept,
                    (0, 1) => Drop,
                    _ => panic!("{file}: {what}: {counters:?} after {before:?}"),
                };
                assert_eq!(said, verdict, "{file}: {what}");
                assert_eq!(counters.traps, [0; 16], "{file}: {what}");
                let bytes = counters.bytes - before.bytes;
                assert_eq!(bytes, packet.len() as u64, "{file}: {what}");
                before = counters;
            }
        }
    }
}

/// Checks the context of one frame at ingress: the transport header's offset and protocol, or why
/// there is none.
#[track_caller]
fn ingress_sees(net: &Net, frame: &[u8], packet_len: u32, transport: Result<(u32, u8), u32>) {
    let (offset, protocol) = match transport {
        Ok((offset, protocol)) => (offset, protocol.into()),
        Err(why) => (NO_TRANSPORT, why),
    };
    let fields = [(12, 5), (16, packet_len), (24, offset), (28, protocol)];
    let body = fields.map(|(at, value)| {
        format!(
            "(if (i32.ne (i32.load offset={at} (local.get $ctx)) (i32.const {value}))
               (then (return (i32.const 0))))"
        )
    });
    let filter = wasm::filter("", &(body.concat() + "(i32.const 1)"));
    let place: Hook = netdev(HOOK_INGRESS, "to-client");
    let filter = net.server.load(Spec::new("ingress", filter).at(place));
    net.client.frames("to-server").send(frame);
    let counters = eventually("the frame", || {
        Some(filter.counters()).filter(|counters| counters.packets > 0)
    });
    assert_eq!((counters.accepted, counters.dropped), (1, 0), "{frame:x?}");
}

fn a_truncated_frame_is_seen_at_ingress() {
    let net = Net::pair();
    let mut whole = Vec::new();
    PacketBuilder::ethernet2(mac(1, 1), mac(1, 2))
        .ipv4(CLIENT, SERVER, 64)
        .tcp(40_000, 23, 0, 1000)
        .write(&mut whole, b"payload")
        .expect("a packet");
    ingress_sees(&net, &whole, 47, Ok((20, TCP)));
    // The IP header's total length is 47 bytes, but the frame is shorter.
    ingress_sees(&net, &whole[..14 + 24], 24, Ok((20, TCP)));
    for len in [20, 13, 1] {
        let frame = &whole[..14 + len];
        ingress_sees(&net, frame, len as u32, Err(TRANSPORT_NOT_FOUND));
    }
    // An IP header with the header length 0.
    let mut packet = whole.clone();
    packet[14] = 0x40;
    ingress_sees(&net, &packet, 47, Err(TRANSPORT_NOT_FOUND));
    // A header length beyond the packet.
    packet[14] = 0x4f;
    ingress_sees(&net, &packet, 47, Err(TRANSPORT_NOT_FOUND));
}

fn frames_that_are_not_ip_have_no_transport() {
    let net = Net::pair();
    ingress_sees(&net, &framed(0x88b5, &[7; 100]), 100, Err(NO_TRANSPORT));
    // The type of IPv6 with the version of IPv4.
    let frame = framed(0x86dd, &ipv4(0, TCP, &tcp(23)));
    ingress_sees(&net, &frame, 40, Err(TRANSPORT_NOT_FOUND));
    let frame = framed(0x0800, &ipv6(TCP, &tcp(23)));
    ingress_sees(&net, &frame, 60, Err(TRANSPORT_NOT_FOUND));
}

fn what_shows_no_transport_header_says_why() {
    let net = Net::pair();
    let mut later_v4 = ipv4(0, TCP, &tcp(23));
    later_v4[6..8].copy_from_slice(&0x2001_u16.to_be_bytes());
    for (packet, transport) in [
        (behind(11, 23), Ok((128, TCP))),
        (behind(12, 23), Ok((136, TCP))),
        (behind(13, 23), Err(TRANSPORT_NOT_FOUND)),
        (cut_by_fragmentation(), Err(TRANSPORT_NOT_FOUND)),
        (
            ipv6(FRAGMENT, &joined(&[&fragment(TCP, 0, false), &tcp(23)])),
            Ok((48, TCP)),
        ),
        (
            ipv6(
                FRAGMENT,
                &joined(&[&fragment(DESTINATION, 9, true), &tcp(23)]),
            ),
            Err(LATER_FRAGMENT),
        ),
        // A truncated fragment header.
        (ipv6(FRAGMENT, &[TCP, 0, 0, 1]), Err(TRANSPORT_NOT_FOUND)),
        (ipv6(TCP, &[]), Err(TRANSPORT_NOT_FOUND)),
        (ipv6(NO_NEXT_HEADER, &tcp(23)), Err(NO_TRANSPORT)),
        (
            ipv6(
                DESTINATION,
                &joined(&[&options(NO_NEXT_HEADER, 2), &tcp(23)]),
            ),
            Err(NO_TRANSPORT),
        ),
        // An authentication header: its length field counts words, minus two.
        (
            ipv6(AUTHENTICATION, &joined(&[&[TCP, 4], &[0; 22], &tcp(23)])),
            Ok((64, TCP)),
        ),
        (later_v4, Err(LATER_FRAGMENT)),
    ] {
        ingress_sees(&net, &frame(&packet), packet.len() as u32, transport);
    }
}
