// SPDX-License-Identifier: GPL-2.0-only
//! The blocklist of names.

use crate::{State, Table};
use nf_wasm_bench_traffic::tables::{name, NAMES};

/// The names, by a hash of their bytes in reverse order.
static LIST: State<Table<u64, (), 2048>> = State::new(Table::new());

/// The hash of a name's last bytes. Grows from the name's end to its beginning.
#[derive(Clone, Copy)]
pub struct Suffix(u64);

impl Suffix {
    /// The hash of no bytes.
    pub const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    /// Adds one byte in front. Upper and lower case are equal.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        // FNV-1a.
        let lower = byte | if byte.is_ascii_uppercase() { 0x20 } else { 0 };
        self.0 = (self.0 ^ u64::from(lower)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// Whether the list has a name with this hash. No two listed names share a 64-bit hash. A name
    /// that is not listed is taken for a listed one if their hashes are equal.
    #[inline]
    pub fn is_listed(self) -> bool {
        LIST.with(|list| list.get(fold(self.0), self.0).is_some())
    }
}

fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

/// Fills the list.
pub fn fill() -> bool {
    LIST.with(|list| {
        (0..NAMES).all(|index| {
            let mut suffix = Suffix::EMPTY;
            for byte in name(index).as_bytes().iter().rev() {
                suffix.push(*byte);
            }
            list.insert(fold(suffix.0), suffix.0, ())
        })
    })
}
