// SPDX-License-Identifier: GPL-2.0-only
//! Runs the three versions of block-telnet in the engine. Each must give the right verdict for
//! every packet.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader,
    PacketBuilder,
};
use nf_wasm_engine::{Instance, Options};
use nf_wasm_shared::abi::guest::{
    Context, ACCEPT, DROP, LATER_FRAGMENT, NO_TRANSPORT, TRANSPORT_NOT_FOUND,
};
use nf_wasm_shared::abi::limits;
use nf_wasm_test_host::Packet;
use nf_wasm_tests::BLOCK_TELNET;

const TELNET: u16 = 23;
const TCP: u32 = 6;
const UDP: u32 = 17;
/// The snaplen in bytes.
const SNAPLEN: u32 = 96;

/// Builds the example filters. That needs compilers for Wasm. The build root has them, other
/// machines may not.
fn filters() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../filters");
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("filters");
    let made = Command::new("make")
        .arg("-C")
        .arg(source)
        .arg(format!("OUT={}", out.display()))
        .arg(format!("TARGET_DIR={}", out.join("target").display()))
        // The target directory of this test's cargo is not for the inner one.
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("make");
    if made.status.success() {
        return Some(out);
    }
    let errors = String::from_utf8_lossy(&made.stderr);
    assert!(env::var_os("IN_BUILD_ROOT").is_none(), "{errors}");
    eprintln!("NOT TESTED: the filters cannot be built here:\n{errors}");
    None
}

/// A packet as the host would present it.
#[derive(Debug)]
struct Case {
    bytes: Vec<u8>,
    /// The transport header's offset and protocol, or why there is none.
    transport: Result<(u32, u32), u32>,
}

impl Case {
    /// block-telnet's verdict, by its README.
    fn expected(&self) -> i32 {
        let offset = match self.transport {
            Ok((offset, TCP)) => offset,
            Ok(_) | Err(NO_TRANSPORT | LATER_FRAGMENT) => return ACCEPT,
            Err(_) => return DROP,
        };
        let window = &self.bytes[..self.bytes.len().min(SNAPLEN as usize)];
        let port = window.get(offset as usize + 2..offset as usize + 4);
        match port.map(|port| u16::from_be_bytes([port[0], port[1]])) {
            Some(port) if port != TELNET => ACCEPT,
            _ => DROP,
        }
    }
}

/// IP headers of every length, ports that contain 23 in some way, and every truncation.
fn corpus() -> Vec<Case> {
    let mut cases = Vec::new();
    let ports = [0, 22, 23, 24, 80, 0x1700, 0x1717, 279, 0x8017, 65_535];
    for source in [23, 40_000] {
        for destination in ports {
            for (ip_len, ip) in ip_headers() {
                for protocol in [TCP, UDP] {
                    let bytes = finish(ip.clone(), protocol, source, destination);
                    for len in 1..=bytes.len() {
                        let has_transport = len > ip_len as usize;
                        cases.push(Case {
                            bytes: bytes[..len].to_vec(),
                            transport: if has_transport {
                                Ok((ip_len, protocol))
                            } else {
                                Err(TRANSPORT_NOT_FOUND)
                            },
                        });
                    }
                }
            }
        }
    }
    // Contexts with an offset beyond the window, which no host should give.
    for offset in [96, 255, 0x7fff_ffff, u32::MAX - 4, u32::MAX - 1] {
        cases.push(Case {
            bytes: vec![0x45; 40],
            transport: Ok((offset, TCP)),
        });
    }
    // The last two are for future hosts.
    for why in [
        NO_TRANSPORT,
        LATER_FRAGMENT,
        TRANSPORT_NOT_FOUND,
        TRANSPORT_NOT_FOUND - 1,
        256,
    ] {
        cases.push(Case {
            bytes: vec![0x60; 80],
            transport: Err(why),
        });
    }
    cases
}

fn ip_headers() -> Vec<(u32, IpHeaders)> {
    let mut headers = Vec::new();
    for options in [0, 4, 40] {
        let mut header =
            Ipv4Header::new(0, 64, IpNumber::TCP, [10, 0, 0, 1], [10, 0, 0, 2]).expect("a header");
        header.options = vec![1; options].as_slice().try_into().expect("options");
        let ip = IpHeaders::Ipv4(header, Ipv4Extensions::default());
        headers.push((20 + options as u32, ip));
    }
    for padding in [None, Some(6), Some(46), Some(62)] {
        let header = Ipv6Header {
            hop_limit: 64,
            source: [0xfd; 16],
            destination: [0xfc; 16],
            ..Ipv6Header::default()
        };
        let options = padding.map(|len| {
            Ipv6RawExtHeader::new_raw(IpNumber::TCP, &vec![0; len]).expect("an extension header")
        });
        let extensions = Ipv6Extensions {
            hop_by_hop_options: options,
            ..Ipv6Extensions::default()
        };
        let len = 40 + padding.map_or(0, |len| len as u32 + 2);
        headers.push((len, IpHeaders::Ipv6(header, extensions)));
    }
    headers
}

fn finish(ip: IpHeaders, protocol: u32, source: u16, destination: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let payload = [0xa5; 12];
    let ip = PacketBuilder::ip(ip);
    if protocol == TCP {
        ip.tcp(source, destination, 1, 1000)
            .write(&mut bytes, &payload)
    } else {
        ip.udp(source, destination).write(&mut bytes, &payload)
    }
    .expect("a packet");
    bytes
}

#[test]
fn block_telnets_agree() {
    let Some(dir) = filters() else { return };
    let options = Options {
        capabilities: 0,
        snaplen: SNAPLEN,
        memory_pages: limits::MEMORY_PAGES,
        init_fuel: limits::INIT_FUEL,
    };
    let mut instances = BLOCK_TELNET.map(|file| {
        let bytes = fs::read(dir.join(file)).expect(file);
        let wasm = wat::parse_bytes(&bytes).expect(file);
        let instance = Instance::new(&wasm, &options, Packet::new(&[]));
        (file, instance.expect(file))
    });
    let corpus = corpus();
    assert!(corpus.len() > 10_000);
    let mut dropped = 0;
    for case in &corpus {
        dropped += usize::from(case.expected() == DROP);
        for (file, instance) in &mut instances {
            instance.host_mut().bytes.clone_from(&case.bytes);
            let (transport_offset, transport_protocol) =
                case.transport.unwrap_or_else(|why| (NO_TRANSPORT, why));
            let mut context = Context {
                packet_len: case.bytes.len() as u32,
                transport_offset,
                transport_protocol,
                ..Context::default()
            };
            let outcome = instance.call(&mut context, limits::DEFAULT_FUEL);
            assert_eq!(outcome.verdict, Ok(case.expected()), "{file}: {case:x?}");
        }
    }
    // Both verdicts are well represented.
    assert!(dropped > 1000 && corpus.len() - dropped > 1000);
}
