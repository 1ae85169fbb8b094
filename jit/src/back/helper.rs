// SPDX-License-Identifier: GPL-2.0-only
//! What compiled code calls.

/// What compiled code calls. The numbers stand in the instructions until they are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helper {
    /// An imported function: the machine, three arguments, and the function's index.
    Import,
    /// The machine, destination, source, bytes.
    MemoryCopy,
    /// The machine, destination, byte, bytes.
    MemoryFill,
    /// Signed quotients and remainders of operands that do not trap.
    DivS32,
    /// As above.
    DivS64,
    /// As above.
    RemS32,
    /// As above.
    RemS64,
    /// Leading zeros.
    Clz32,
    /// As above.
    Clz64,
    /// Trailing zeros.
    Ctz32,
    /// As above.
    Ctz64,
    /// Ones.
    Popcnt32,
    /// As above.
    Popcnt64,
    /// The value, and by how much.
    RotL32,
    /// As above.
    RotL64,
    /// As above.
    RotR32,
    /// As above.
    RotR64,
}

impl Helper {
    /// All of them; the number of each is its place.
    pub const ALL: [Self; 17] = [
        Helper::Import,
        Helper::MemoryCopy,
        Helper::MemoryFill,
        Helper::DivS32,
        Helper::DivS64,
        Helper::RemS32,
        Helper::RemS64,
        Helper::Clz32,
        Helper::Clz64,
        Helper::Ctz32,
        Helper::Ctz64,
        Helper::Popcnt32,
        Helper::Popcnt64,
        Helper::RotL32,
        Helper::RotL64,
        Helper::RotR32,
        Helper::RotR64,
    ];

    /// As it stands in an instruction.
    pub fn number(self) -> i32 {
        Self::ALL.iter().position(|it| *it == self).unwrap_or(0) as i32
    }

    /// What the helpers that know nothing of a machine return.
    pub fn compute(self, a: u64, b: u64) -> u64 {
        let (a32, b32) = (a as u32, b as u32);
        match self {
            Helper::DivS32 => u64::from((a32 as i32).wrapping_div(b32 as i32) as u32),
            Helper::DivS64 => (a as i64).wrapping_div(b as i64) as u64,
            Helper::RemS32 => u64::from((a32 as i32).wrapping_rem(b32 as i32) as u32),
            Helper::RemS64 => (a as i64).wrapping_rem(b as i64) as u64,
            Helper::Clz32 => a32.leading_zeros().into(),
            Helper::Clz64 => a.leading_zeros().into(),
            Helper::Ctz32 => a32.trailing_zeros().into(),
            Helper::Ctz64 => a.trailing_zeros().into(),
            Helper::Popcnt32 => a32.count_ones().into(),
            Helper::Popcnt64 => a.count_ones().into(),
            Helper::RotL32 => a32.rotate_left(b32 & 31).into(),
            Helper::RotL64 => a.rotate_left(b32 & 63),
            Helper::RotR32 => a32.rotate_right(b32 & 31).into(),
            Helper::RotR64 => a.rotate_right(b32 & 63),
            Helper::Import | Helper::MemoryCopy | Helper::MemoryFill => 0,
        }
    }
}
