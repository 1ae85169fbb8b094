// SPDX-License-Identifier: GPL-2.0-only
//! Packets that no well-meaning sender sends. The three block-telnets agree on each.

use etherparse::PacketBuilder;
use nf_wasm_abi::ioctl::{Hook, FAMILY_INET, HOOK_INGRESS, HOOK_PREROUTING};
use nf_wasm_tests::device::{hook, netdev, Spec};
use nf_wasm_tests::net::{mac, Net};
use nf_wasm_tests::{eventually, wasm, BLOCK_TELNET};

crate::tests![
    block_telnets_agree_on_odd_packets,
    a_truncated_frame_is_seen_at_ingress,
    frames_that_are_not_ip_have_no_transport,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
}
use Verdict::{Accept, Drop};

const CLIENT: [u8; 4] = [10, 77, 1, 1];
const SERVER: [u8; 4] = [10, 77, 1, 2];

/// An IPv4 packet to the server: options, protocol and what follows.
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
    // Options that do nothing.
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
    // PadN over the rest, in pieces that fit their length's byte.
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

/// A fragment header.
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
const DESTINATION: u8 = 60;
const NO_NEXT_HEADER: u8 = 59;

/// What passes the checks before prerouting, and what block-telnet says of it.
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
        ("no TCP header", ipv4(0, TCP, &[]), Accept),
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
        // The window has 256 bytes: its port is not to be seen.
        packets.push((
            name("after 320 bytes of destination options"),
            ipv6(DESTINATION, &joined(&[&options(TCP, 40), port])),
            Drop,
        ));
    }
    packets.push((
        "IPv6, options that are cut off",
        ipv6(DESTINATION, &[TCP, 5, 0, 0]),
        Accept,
    ));
    packets.push((
        "IPv6, a routing header that is cut off",
        ipv6(ROUTING, &[TCP]),
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

/// Expects of one frame, at ingress, this context.
#[track_caller]
fn ingress_sees(net: &Net, frame: &[u8], packet_len: u32, transport_offset: u32) {
    let filter = wasm::filter(
        "",
        &format!(
            "(i32.and
               (i32.and (i32.eq (i32.load offset=12 (local.get $ctx)) (i32.const 5))
                        (i32.eq (i32.load offset=16 (local.get $ctx)) (i32.const {packet_len})))
               (i32.eq (i32.load offset=24 (local.get $ctx)) (i32.const {transport_offset})))"
        ),
    );
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
    ingress_sees(&net, &whole, 47, 20);
    // The IP header says 47 bytes; so many are there.
    ingress_sees(&net, &whole[..14 + 24], 24, 20);
    ingress_sees(&net, &whole[..14 + 20], 20, u32::MAX);
    ingress_sees(&net, &whole[..14 + 13], 13, u32::MAX);
    ingress_sees(&net, &whole[..14 + 1], 1, u32::MAX);
    // An IP header that says it has no length.
    let mut packet = whole.clone();
    packet[14] = 0x40;
    ingress_sees(&net, &packet, 47, u32::MAX);
    // One that says it is longer than the packet.
    packet[14] = 0x4f;
    ingress_sees(&net, &packet, 47, u32::MAX);
}

fn frames_that_are_not_ip_have_no_transport() {
    let net = Net::pair();
    ingress_sees(&net, &framed(0x88b5, &[7; 100]), 100, u32::MAX);
    // IPv6's type, IPv4's version.
    ingress_sees(&net, &framed(0x86dd, &ipv4(0, TCP, &tcp(23))), 40, u32::MAX);
    ingress_sees(&net, &framed(0x0800, &ipv6(TCP, &tcp(23))), 60, u32::MAX);
}
