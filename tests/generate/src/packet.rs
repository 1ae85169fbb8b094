// SPDX-License-Identifier: GPL-2.0-only
//! Generates packets that resemble IP.

use arbitrary::{Result, Unstructured};
use nf_wasm_shared::abi::limits::RUN_PACKET_BYTES;

/// TCP, UDP, ICMP, ESP, extension headers of IPv6, "no next header", and a number for experiments.
const PROTOCOLS: [u8; 12] = [0, 6, 17, 1, 58, 43, 44, 60, 51, 50, 59, 253];

/// A packet of at least one byte.
pub fn packet(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let len = match u.int_in_range(0..=15_u8)? {
        0 => 1,
        1 => u.int_in_range(1..=48)?,
        2 => u.int_in_range(1400..=9000)?,
        3 => RUN_PACKET_BYTES as usize,
        _ => u.int_in_range(20..=300)?,
    };
    let seed: u8 = u.arbitrary()?;
    // Different bytes that use up little of `u`.
    let mut bytes: Vec<u8> = (0..len)
        .map(|at| (at as u8).wrapping_mul(31) ^ seed)
        .collect();
    let mut head = Vec::new();
    match u.int_in_range(0..=7_u8)? {
        0 => {}
        1..=4 => {
            // The version and the header's length, sometimes a wrong length.
            let words = if u.ratio(3, 4)? {
                5
            } else {
                u.int_in_range(0..=15)?
            };
            head.push(0x40 | words);
            head.extend([0, (len >> 8) as u8, len as u8, 0, 0]);
            // Flags and fragment offset.
            let fragment: u16 = if u.ratio(3, 4)? {
                0x4000
            } else {
                u.arbitrary()?
            };
            head.extend(fragment.to_be_bytes());
            head.push(64);
            head.push(*u.choose(&PROTOCOLS)?);
        }
        _ => {
            head.extend([0x60, 0, 0, 0, (len >> 8) as u8, len as u8]);
            head.push(*u.choose(&PROTOCOLS)?);
            head.push(64);
            head.extend([0xfd; 32]);
            for _ in 0..u.int_in_range(0..=3)? {
                head.push(*u.choose(&PROTOCOLS)?);
                head.push(u.int_in_range(0..=2)?);
                head.extend([0; 6]);
            }
        }
    }
    for (to, from) in bytes.iter_mut().zip(head) {
        *to = from;
    }
    Ok(bytes)
}
