// SPDX-License-Identifier: GPL-2.0-only
//! Makes packets, from the IP header on.

use crate::tables::Flow;
use etherparse::PacketBuilder;
use std::vec;
use std::vec::Vec;

const DESTINATION: [u8; 4] = [198, 51, 100, 2];
const TTL: u8 = 64;

/// A UDP datagram to `port`.
pub fn udp(source: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(source, DESTINATION, TTL).udp(40_000, port);
    let mut packet = Vec::with_capacity(builder.size(payload.len()));
    builder
        .write(&mut packet, payload)
        .expect("writing to a vector cannot fail");
    packet
}

/// A TCP segment to `port`.
pub fn tcp(source: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(source, DESTINATION, TTL)
        .tcp(40_000, port, 1, 65_000)
        .ack(1);
    let mut packet = Vec::with_capacity(builder.size(payload.len()));
    builder
        .write(&mut packet, payload)
        .expect("writing to a vector cannot fail");
    packet
}

/// The headers of a packet of this flow.
pub fn of_flow(flow: Flow) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(
        flow.source.to_be_bytes(),
        flow.destination.to_be_bytes(),
        TTL,
    );
    let mut packet = Vec::new();
    let (from, to) = (flow.source_port, flow.destination_port);
    if flow.protocol == 6 {
        builder.tcp(from, to, 1, 65_000).write(&mut packet, &[])
    } else {
        builder.udp(from, to).write(&mut packet, &[0; 32])
    }
    .expect("writing to a vector cannot fail");
    packet
}

/// A DNS query for the addresses of `name`.
pub fn dns(source: [u8; 4], name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    udp(source, 53, &message)
}

/// The ClientHello of a browser that asks for `name`.
pub fn client_hello(source: [u8; 4], name: &str) -> Vec<u8> {
    let len = |bytes: &[u8]| (bytes.len() as u16).to_be_bytes();
    let extension = |kind: u16, data: &[u8]| [&kind.to_be_bytes(), &len(data), data].concat();
    let host = [&[0], &len(name.as_bytes())[..], name.as_bytes()].concat();
    let extensions = [
        extension(0x7a7a, &[]),                                  // GREASE
        extension(23, &[]),                                      // extended_master_secret
        extension(0xff01, &[0]),                                 // renegotiation_info
        extension(10, &[0, 8, 0x11, 0xec, 0, 29, 0, 23, 0, 24]), // supported_groups
        extension(11, &[1, 0]),                                  // ec_point_formats
        extension(16, b"\0\x0c\x02h2\x08http/1.1"),              // ALPN
        extension(0, &[&len(&host)[..], &host].concat()),        // server_name
        extension(43, &[4, 3, 4, 3, 3]),                         // supported_versions
        extension(45, &[1, 1]),                                  // psk_key_exchange_modes
        extension(51, &[[0, 36, 0, 29, 0, 32].as_slice(), &[7; 32]].concat()), // key_share
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &[1; 32],
        &[32],
        &[2; 32],
        &[0, 32],
        &[0x13; 32],
        &[1, 0],
        &len(&extensions),
        &extensions,
    ]
    .concat();
    let message = [&[1, 0][..], &len(&body), &body].concat();
    let record = [&[22, 3, 1][..], &len(&message), &message].concat();
    tcp(source, 443, &record)
}
