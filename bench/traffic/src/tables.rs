// SPDX-License-Identifier: GPL-2.0-only
//! Entries of the benchmarks' tables, computed from their index: the same for every contender.

/// Flows on the blocklist.
pub const FLOWS: u32 = 10_000;
/// Names on the blocklist.
pub const NAMES: u32 = 1_000;
/// Bytes of the longest name.
pub const NAME_BYTES: usize = 16;

/// A 5-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// The flow with number `index` on the blocklist; its source is in 10.0.0.0/8.
pub fn flow(index: u32) -> Flow {
    let (a, b) = (mix(2 * index), mix(2 * index + 1));
    Flow {
        source: 0x0a00_0000 | (a as u32 & 0x00ff_ffff),
        destination: 0xc633_6400 | (b as u32 & 0xff),
        source_port: (a >> 32) as u16 | 1024,
        destination_port: (a >> 48) as u16 | 1,
        protocol: if b >> 63 == 0 { 6 } else { 17 },
    }
}

/// The network with number `index` on the blocklist: its address and prefix length. The networks
/// are in 32.0.0.0/3. Most are /24, as on real lists.
pub fn prefix(index: u32) -> (u32, u8) {
    let random = mix(0x1_0000 + index);
    let bits = match random >> 60 {
        0..=1 => 16 + ((random >> 56) & 3) as u8,
        2..=4 => 20 + ((random >> 56) & 3) as u8,
        5..=12 => 24,
        _ => 25 + ((random >> 56) & 7) as u8,
    };
    let address = 0x2000_0000 | (random as u32 >> 3);
    (address & (u32::MAX << (32 - u32::from(bits))), bits)
}

/// A name: letters and dots, without a dot at the end.
pub struct Name {
    bytes: [u8; NAME_BYTES],
    len: usize,
}

impl Name {
    /// Its text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The name with number `index` on the blocklist, as in `kqzmhwnd.example`.
pub fn name(index: u32) -> Name {
    let mut random = mix(0x2_0000 + index);
    let mut bytes = [0; NAME_BYTES];
    let mut len = 5 + (random % 4) as usize;
    random /= 4;
    for byte in &mut bytes[..len] {
        *byte = b'a' + (random % 26) as u8;
        random /= 26;
    }
    let domain: &[u8] = match random % 3 {
        0 => b".com",
        1 => b".net",
        _ => b".example",
    };
    bytes[len..len + domain.len()].copy_from_slice(domain);
    len += domain.len();
    Name { bytes, len }
}

/// Scatters numbers: the finalizer of SplitMix64.
fn mix(index: u32) -> u64 {
    let mut x = (u64::from(index) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::collections::HashSet;

    #[test]
    fn entries_differ() {
        let flows: HashSet<_> = (0..FLOWS)
            .map(flow)
            .map(|it| {
                (
                    it.source,
                    it.destination,
                    it.source_port,
                    it.destination_port,
                )
            })
            .collect();
        assert_eq!(flows.len(), FLOWS as usize);
        let names: HashSet<_> = (0..NAMES).map(|it| name(it).as_bytes().to_vec()).collect();
        assert_eq!(names.len(), NAMES as usize);
    }

    #[test]
    fn prefixes_are_networks() {
        for (address, bits) in (0..10_000).map(prefix) {
            assert!((16..=32).contains(&bits));
            assert_eq!(
                address & (u32::MAX.checked_shr(bits.into()).unwrap_or(0)),
                0
            );
            assert_eq!(address >> 29, 1);
        }
    }
}
