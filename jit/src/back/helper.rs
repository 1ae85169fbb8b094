// SPDX-License-Identifier: GPL-2.0-only
//! Helpers: the functions that compiled code calls.

/// The table of helpers that compute a value from two numbers. Passes its rows to the macro
/// `$with`.
///
/// Operands and results have 64 bits. 32-bit values are zero-extended.
#[macro_export]
macro_rules! computing_helpers {
    ($with:ident) => {
        $with! {
            /// Signed quotient of operands that do not trap.
            DivS32(a, b) = u64::from((a as i32).wrapping_div(b as i32) as u32);
            /// Signed quotient of operands that do not trap.
            DivS64(a, b) = (a as i64).wrapping_div(b as i64) as u64;
            /// Signed remainder of operands that do not trap.
            RemS32(a, b) = u64::from((a as i32).wrapping_rem(b as i32) as u32);
            /// Signed remainder of operands that do not trap.
            RemS64(a, b) = (a as i64).wrapping_rem(b as i64) as u64;
            /// Leading zeros.
            Clz32(a, _b) = (a as u32).leading_zeros().into();
            /// Leading zeros.
            Clz64(a, _b) = a.leading_zeros().into();
            /// Trailing zeros.
            Ctz32(a, _b) = (a as u32).trailing_zeros().into();
            /// Trailing zeros.
            Ctz64(a, _b) = a.trailing_zeros().into();
            /// Ones.
            Popcnt32(a, _b) = (a as u32).count_ones().into();
            /// Ones.
            Popcnt64(a, _b) = a.count_ones().into();
            /// The first operand, rotated left by the second.
            RotL32(a, b) = (a as u32).rotate_left(b as u32 & 31).into();
            /// The first operand, rotated left by the second.
            RotL64(a, b) = a.rotate_left(b as u32 & 63);
            /// The first operand, rotated right by the second.
            RotR32(a, b) = (a as u32).rotate_right(b as u32 & 31).into();
            /// The first operand, rotated right by the second.
            RotR64(a, b) = a.rotate_right(b as u32 & 63);
        }
    };
}

macro_rules! define {
    ($($(#[$doc:meta])* $name:ident($a:ident, $b:ident) = $value:expr;)*) => {
        /// A helper. Instructions hold its number until they are linked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Helper {
            /// `memory.copy`. Takes the machine, destination, source and bytes.
            MemoryCopy,
            /// `memory.fill`. Takes the machine, destination, value and bytes.
            MemoryFill,
            $($(#[$doc])* $name,)*
        }

        impl Helper {
            /// All helpers. A helper's index is its number.
            pub const ALL: [Self; Self::COUNT] =
                [Self::MemoryCopy, Self::MemoryFill, $(Self::$name),*];
            /// Number of helpers.
            pub const COUNT: usize = 2 + [$(stringify!($name)),*].len();

            /// The result of a helper that only computes; 0 for the others.
            pub fn compute(self, x: u64, y: u64) -> u64 {
                match self {
                    Self::MemoryCopy | Self::MemoryFill => 0,
                    $(Self::$name => {
                        let ($a, $b) = (x, y);
                        $value
                    })*
                }
            }
        }
    };
}
computing_helpers!(define);

impl Helper {
    /// The helper's number in an instruction.
    pub fn number(self) -> i32 {
        self as i32
    }
}
