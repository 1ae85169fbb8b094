// SPDX-License-Identifier: GPL-2.0-only
//! Helpers: the functions that compiled code calls.

/// The helpers that compute a value of two numbers, a row each. Passes the rows to the macro `$with`.
///
/// Operands and results have 64 bits. Those of 32 bits use the low half, and have zeros above it.
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
        /// What compiled code calls. The numbers stand in the instructions until they are linked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Helper {
            /// An imported function: the machine, three arguments, and the function's index.
            Import,
            /// The machine, destination, source, bytes.
            MemoryCopy,
            /// The machine, destination, byte, bytes.
            MemoryFill,
            $($(#[$doc])* $name,)*
        }

        impl Helper {
            /// All of them. The number of each is its place.
            pub const ALL: [Self; Self::COUNT] =
                [Self::Import, Self::MemoryCopy, Self::MemoryFill, $(Self::$name),*];
            /// How many there are.
            pub const COUNT: usize = 3 + [$(stringify!($name)),*].len();

            /// The result of a helper that computes; 0 for the others.
            pub fn compute(self, x: u64, y: u64) -> u64 {
                match self {
                    Self::Import | Self::MemoryCopy | Self::MemoryFill => 0,
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
    /// Its number in an instruction.
    pub fn number(self) -> i32 {
        self as i32
    }
}
