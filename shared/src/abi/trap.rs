// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kinds of traps.

/// A reason why the trap policy, and not the filter, decided a packet.
///
/// The number is the index in [`super::ioctl::Counters::traps`], and is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Trap {
    /// The guest executed `unreachable`.
    Unreachable = 0,
    /// A load, store or bulk operation outside linear memory.
    MemoryOutOfBounds = 1,
    /// A table access outside the table.
    TableOutOfBounds = 2,
    /// `call_indirect` through a null table element.
    IndirectCallToNull = 3,
    /// `call_indirect` with a type that the callee does not have.
    BadSignature = 4,
    /// Integer division or remainder by zero.
    IntegerDivisionByZero = 5,
    /// The smallest integer divided by -1, or a float converted that is out of the integer's range.
    IntegerOverflow = 6,
    /// A NaN was converted to an integer.
    BadConversionToInteger = 7,
    /// The guest's call or value stack is full.
    StackOverflow = 8,
    /// The fuel for one packet is used up.
    OutOfFuel = 9,
    /// Memory or a table was grown in a place where that traps instead of returning -1.
    GrowthLimited = 10,
    /// `nfw_filter` returned a number that is not a verdict.
    UnknownVerdict = 11,
    /// A host function refused to go on.
    Host = 12,
    /// The CPU's instance was already in use: the filter was called while it decided a packet.
    Reentered = 13,
    /// The window could not be copied from the packet, because its bytes are in a device's memory.
    /// Does not count towards a quarantine.
    Packet = 14,
    /// The engine contradicted itself. Always a bug of nf_wasm, never of the guest.
    Internal = 15,
}

impl Trap {
    /// How many kinds there are.
    pub const COUNT: usize = 16;

    /// Every kind, in the order of their numbers.
    pub const ALL: [Trap; Self::COUNT] = [
        Trap::Unreachable,
        Trap::MemoryOutOfBounds,
        Trap::TableOutOfBounds,
        Trap::IndirectCallToNull,
        Trap::BadSignature,
        Trap::IntegerDivisionByZero,
        Trap::IntegerOverflow,
        Trap::BadConversionToInteger,
        Trap::StackOverflow,
        Trap::OutOfFuel,
        Trap::GrowthLimited,
        Trap::UnknownVerdict,
        Trap::Host,
        Trap::Reentered,
        Trap::Packet,
        Trap::Internal,
    ];

    /// The kind with number `number`.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// The name that listings and JSON use.
    pub const fn name(self) -> &'static str {
        match self {
            Trap::Unreachable => "unreachable",
            Trap::MemoryOutOfBounds => "memory-out-of-bounds",
            Trap::TableOutOfBounds => "table-out-of-bounds",
            Trap::IndirectCallToNull => "indirect-call-to-null",
            Trap::BadSignature => "bad-signature",
            Trap::IntegerDivisionByZero => "integer-division-by-zero",
            Trap::IntegerOverflow => "integer-overflow",
            Trap::BadConversionToInteger => "bad-conversion-to-integer",
            Trap::StackOverflow => "stack-overflow",
            Trap::OutOfFuel => "out-of-fuel",
            Trap::GrowthLimited => "growth-limited",
            Trap::UnknownVerdict => "unknown-verdict",
            Trap::Host => "host",
            Trap::Reentered => "reentered",
            Trap::Packet => "packet",
            Trap::Internal => "internal",
        }
    }
}
