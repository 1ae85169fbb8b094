// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the packet for `run`: hexadecimal digits, or a file of raw bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use nf_wasm_shared::abi::limits;

use crate::error::{Error, Result};
use crate::hook::Family;

/// Reads the argument of `--packet`. Hexadecimal digits, with or without `0x`, blanks and colons,
/// are the packet itself. Anything else is the path of a file.
pub fn read(argument: &str) -> Result<Vec<u8>> {
    let bytes = match hex(argument) {
        Some(bytes) => bytes?,
        None => file(Path::new(argument))?,
    };
    let max = limits::RUN_PACKET_BYTES as usize;
    if bytes.is_empty() || bytes.len() > max {
        return Err(Error::failure(
            "cannot run this packet",
            format_args!("it has {} bytes; 1 to {max} are allowed", bytes.len()),
        ));
    }
    Ok(bytes)
}

/// Converts hexadecimal digits to bytes. Returns `None` if the text has other characters.
pub fn hex(text: &str) -> Option<Result<Vec<u8>>> {
    let digits: String = text
        .trim()
        .trim_start_matches("0x")
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .collect();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    if digits.len() % 2 != 0 {
        return Some(Err(Error::usage(
            "cannot read the packet",
            format_args!("{} hexadecimal digits are an odd number", digits.len()),
        )
        .help("write ./NAME for a file with such a name")));
    }
    let byte = |pair: &[u8]| {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).unwrap_or(0);
        u8::try_from(digit(0) * 16 + digit(1)).unwrap_or(0)
    };
    Some(Ok(digits.as_bytes().chunks_exact(2).map(byte).collect()))
}

fn file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| {
            file.take(u64::from(limits::RUN_PACKET_BYTES) + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(|error| {
            Error::failure(format_args!("cannot read {}", path.display()), error)
                .help("give hexadecimal digits, or a file of raw bytes")
        })?;
    Ok(bytes)
}

/// The family by the IP version in the packet's first byte.
pub fn family(packet: &[u8]) -> Option<Family> {
    match packet.first()? >> 4 {
        4 => Some(Family::Ipv4),
        6 => Some(Family::Ipv6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read() {
        for text in ["45000014", "0x45000014", " 45 00 00:14\n", "45:00:00:14"] {
            assert_eq!(read(text).unwrap(), [0x45, 0, 0, 0x14]);
        }
        assert_eq!(read("450").unwrap_err().exit_code(), 2);
        assert_eq!(read("").unwrap_err().exit_code(), 1);
        assert_eq!(read("no-such-file").unwrap_err().exit_code(), 1);
    }

    #[test]
    fn files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("packet.bin");
        std::fs::write(&path, [0x60, 1]).unwrap();
        let packet = read(path.to_str().unwrap()).unwrap();
        assert_eq!(packet, [0x60, 1]);
        assert_eq!(family(&packet), Some(Family::Ipv6));
        std::fs::write(&path, vec![0x45; 65_536]).unwrap();
        read(path.to_str().unwrap()).unwrap_err();
    }
}
