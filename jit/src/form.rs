// SPDX-License-Identifier: GPL-2.0-only
//! The form between Wasm and eBPF: blocks of operations on variables.
//!
//! A variable holds 64 bits. An `i32` in one has zeros above, always. Wasm's locals are the first
//! variables of a function; each value of its operand stack is another, or a constant.

use alloc::vec::Vec;

use crate::Reads;

/// A variable of a function.
pub(crate) type Var = u32;
/// A block of a function, by its place in [`Function::blocks`].
pub(crate) type BlockId = u32;

/// What an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Var(Var),
    /// Of an `i32`, zero-extended.
    Const(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    W32,
    W64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    And,
    Or,
    Xor,
    Shl,
    ShrU,
    ShrS,
    RotL,
    RotR,
}

impl Binary {
    /// Whether the operands may change places.
    pub(crate) fn commutes(self) -> bool {
        use Binary::{Add, And, Mul, Or, Xor};
        matches!(self, Add | Mul | And | Or | Xor)
    }
}

/// Operations that trap on some operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Divide {
    DivU,
    DivS,
    RemU,
    RemS,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Clz,
    Ctz,
    Popcnt,
    /// Sign-extends the low bits; the result has the operation's width.
    Extend8,
    Extend16,
    Extend32,
    /// Takes the low 32 bits.
    Wrap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Eq,
    Ne,
    LtU,
    LtS,
    GtU,
    GtS,
    LeU,
    LeS,
    GeU,
    GeS,
}

impl Condition {
    pub(crate) fn inverted(self) -> Self {
        use Condition::{Eq, GeS, GeU, GtS, GtU, LeS, LeU, LtS, LtU, Ne};
        match self {
            Eq => Ne,
            Ne => Eq,
            LtU => GeU,
            GeU => LtU,
            LtS => GeS,
            GeS => LtS,
            GtU => LeU,
            LeU => GtU,
            GtS => LeS,
            LeS => GtS,
        }
    }

    /// The condition for operands that changed places.
    pub(crate) fn swapped(self) -> Self {
        use Condition::{Eq, GeS, GeU, GtS, GtU, LeS, LeU, LtS, LtU, Ne};
        match self {
            Eq | Ne => self,
            LtU => GtU,
            GtU => LtU,
            LtS => GtS,
            GtS => LtS,
            LeU => GeU,
            GeU => LeU,
            LeS => GeS,
            GeS => LeS,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compare {
    pub(crate) condition: Condition,
    pub(crate) width: Width,
    pub(crate) a: Value,
    pub(crate) b: Value,
}

/// What an access to memory moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Bytes: 1, 2, 4 or 8.
    pub(crate) bytes: u8,
    /// A load's sign is extended to this.
    pub(crate) signed: Option<Width>,
}

/// Where an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// A variable of [`Op::Address`], or the linear memory's beginning.
    pub(crate) address: Option<Var>,
    /// Behind that; less than 32,768.
    pub(crate) offset: u16,
}

/// Bytes from a base on, by their place in [`Extents`]. Operations that have it in common are raised
/// together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent(u32);

/// The extents of a function. They are not final before it is built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extents(Vec<u64>);

impl Extents {
    pub(crate) fn add(&mut self, bytes: u64) -> Extent {
        self.0.push(bytes);
        Extent(self.0.len() as u32 - 1)
    }

    pub(crate) fn bytes(&self, extent: Extent) -> u64 {
        self.0[extent.0 as usize]
    }

    /// Has all operations with this extent be for `bytes` at least.
    pub(crate) fn raise(&mut self, extent: Extent, bytes: u64) {
        let old = &mut self.0[extent.0 as usize];
        *old = bytes.max(*old);
    }
}

/// What keeps an address in linear memory where the check before it is mispredicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// The base is a constant. Nothing is checked at run time.
    Constant,
    /// The base is at most this by how it was computed, whichever way led there. There is no check.
    Bound(u64),
    /// The base becomes 0 where less than this is behind it, without a branch.
    Extent(Extent),
}

/// What is done by a function of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callee {
    /// A function that the module imports, by its index.
    Import(u32),
    MemoryCopy,
    MemoryFill,
}

/// An operation. Where one has a list, it is a range of [`Function::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Copy {
        to: Var,
        from: Value,
    },
    Binary {
        op: Binary,
        width: Width,
        to: Var,
        a: Value,
        b: Value,
    },
    Divide {
        op: Divide,
        width: Width,
        to: Var,
        a: Value,
        b: Value,
    },
    Unary {
        op: Unary,
        width: Width,
        to: Var,
        a: Value,
    },
    /// 1 or 0.
    Compare {
        to: Var,
        compare: Compare,
    },
    /// `a` where the comparison holds, else `b`.
    Select {
        to: Var,
        compare: Compare,
        a: Value,
        b: Value,
    },
    /// Traps if `base` and `extent` bytes from there are not within linear memory.
    Check {
        base: Var,
        extent: Extent,
    },
    /// Always traps. What follows is never reached.
    Trap(nf_wasm_shared::abi::trap::Trap),
    /// The native address of `base + offset`. It does not check; while a check is mispredicted, the mask
    /// decides how many bytes from the base on are linear memory.
    Address {
        to: Var,
        base: Value,
        offset: u32,
        mask: Mask,
    },
    /// The native address of a packet's first byte.
    Packet {
        to: Var,
    },
    /// The native address of the packet's byte `base - less`. Traps if `extent` bytes from there are not
    /// all in the packet. While that check is mispredicted, it is the linear memory's first byte: that
    /// has as many bytes, which the packet may not.
    PacketAddress {
        to: Var,
        base: Value,
        less: u32,
        extent: Extent,
    },
    Load {
        to: Var,
        access: Access,
        place: Place,
    },
    Store {
        from: Value,
        bytes: u8,
        place: Place,
    },
    GlobalGet {
        to: Var,
        global: u32,
    },
    GlobalSet {
        global: u32,
        from: Value,
    },
    /// Calls a function that the module defines. Its results are in `results` variables from `to`.
    Call {
        function: u32,
        arguments: (u32, u32),
        to: Var,
        results: u32,
    },
    CallIndirect {
        signature: u32,
        index: Value,
        arguments: (u32, u32),
        to: Var,
        results: u32,
    },
    /// Calls the host. The result, if there is one, is in `to`.
    Host {
        callee: Callee,
        arguments: (u32, u32),
        to: Option<Var>,
    },
}

/// How a block ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Jump(BlockId),
    Branch {
        compare: Compare,
        then: BlockId,
        otherwise: BlockId,
    },
    /// To the target with this number, or to the last. Targets may be the same: `blocks` has each once.
    Table {
        index: Value,
        targets: Vec<BlockId>,
        blocks: Vec<BlockId>,
    },
    /// Returns a range of [`Function::values`].
    Return((u32, u32)),
    Trap(nf_wasm_shared::abi::trap::Trap),
}

#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Charged when the block is entered.
    pub(crate) fuel: u32,
    pub(crate) ops: Vec<Op>,
    pub(crate) end: End,
    /// How many loops it is in.
    pub(crate) depth: u32,
}

/// A function's blocks. The first is entered first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Function {
    /// In the module.
    pub(crate) index: u32,
    pub(crate) blocks: Vec<Block>,
    /// The blocks in the order in which they stand in the code.
    pub(crate) order: Vec<BlockId>,
    /// Loops, as ranges of `order`: from the first to behind the last.
    pub(crate) loops: Vec<(u32, u32)>,
    pub(crate) values: Vec<Value>,
    pub(crate) extents: Extents,
    pub(crate) params: u32,
    /// Parameters included.
    pub(crate) locals: u32,
    pub(crate) vars: u32,
    /// Variables besides locals that keep their value from one round of a loop to the next.
    pub(crate) carried: Vec<Var>,
    pub(crate) results: u32,
    /// Whether it calls imported functions.
    pub(crate) calls_host: bool,
    /// It reads nothing in linear memory from this address on.
    pub(crate) reads_below: u64,
    /// Whether it reads a parameter that is not known.
    pub(crate) reads_parameters: bool,
    /// What it reads of a packet in place.
    pub(crate) in_place: Reads,
}

impl Function {
    /// Whether fuel is taken off on entry only.
    pub(crate) fn charges_once(&self) -> bool {
        let charges = |op: &Op| matches!(op, Op::Host { .. });
        let mut ops = self.blocks.iter().flat_map(|block| &block.ops);
        let entry = self.order.first().map_or(0, |it| *it as usize);
        let mut others = self
            .blocks
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != entry);
        !ops.any(charges) && others.all(|(_, block)| block.fuel == 0)
    }

    /// Whether it does anything that can be seen, besides returning or trapping.
    pub(crate) fn has_effects(&self) -> bool {
        let mut ops = self.blocks.iter().flat_map(|block| &block.ops);
        ops.any(|op| match op {
            Op::Store { .. }
            | Op::GlobalSet { .. }
            | Op::Call { .. }
            | Op::CallIndirect { .. }
            | Op::Host { .. } => true,
            Op::Copy { .. }
            | Op::Binary { .. }
            | Op::Divide { .. }
            | Op::Unary { .. }
            | Op::Compare { .. }
            | Op::Select { .. }
            | Op::Check { .. }
            | Op::Trap(_)
            | Op::Address { .. }
            | Op::Packet { .. }
            | Op::PacketAddress { .. }
            | Op::Load { .. }
            | Op::GlobalGet { .. } => false,
        })
    }

    /// For each variable, whether it can only be 1 or 0, as far as what writes it shows.
    pub(crate) fn truths(&self) -> Vec<bool> {
        let is_constant = |value: &Value| matches!(value, Value::Const(0 | 1));
        // A parameter has a value before it is written; other locals begin as 0.
        let mut truths: Vec<bool> = (0..self.vars).map(|var| var >= self.params).collect();
        for op in self.blocks.iter().flat_map(|block| &block.ops) {
            let leaves_truth = match op {
                Op::Compare { .. } => true,
                Op::Copy { from, .. } => is_constant(from),
                Op::Select { a, b, .. } => is_constant(a) && is_constant(b),
                Op::Binary { .. }
                | Op::Divide { .. }
                | Op::Unary { .. }
                | Op::Check { .. }
                | Op::Trap(_)
                | Op::Address { .. }
                | Op::Packet { .. }
                | Op::PacketAddress { .. }
                | Op::Load { .. }
                | Op::Store { .. }
                | Op::GlobalGet { .. }
                | Op::GlobalSet { .. }
                | Op::Call { .. }
                | Op::CallIndirect { .. }
                | Op::Host { .. } => false,
            };
            if !leaves_truth {
                let (first, count) = op.writes();
                truths[first as usize..(first + count) as usize].fill(false);
            }
        }
        truths
    }
}

/// What an operation writes, and whether the front end may have it write that elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written<V> {
    Nothing,
    /// A value for whoever names the variable: it may as well be another.
    Value(V),
    /// A native address. The front end keeps in mind where it is, so there it stays.
    Address(V),
    /// What a call returns: so many values, from this variable on.
    Results(V, u32),
}

impl Op {
    /// What it writes, to be changed. All that asks what an operation writes comes here, and no arm
    /// stands for operations that it does not name.
    fn written_mut(&mut self) -> Written<&mut Var> {
        match self {
            Op::Copy { to, from: _ }
            | Op::Binary { to, .. }
            | Op::Divide { to, .. }
            | Op::Unary { to, .. }
            | Op::Compare { to, .. }
            | Op::Select { to, .. }
            | Op::Load { to, .. }
            | Op::GlobalGet { to, .. }
            | Op::Host { to: Some(to), .. } => Written::Value(to),
            Op::Address { to, .. } | Op::Packet { to } | Op::PacketAddress { to, .. } => {
                Written::Address(to)
            }
            Op::Call { to, results, .. } | Op::CallIndirect { to, results, .. } => {
                Written::Results(to, *results)
            }
            Op::Check { .. }
            | Op::Trap(_)
            | Op::Store { .. }
            | Op::GlobalSet { .. }
            | Op::Host { to: None, .. } => Written::Nothing,
        }
    }

    /// What it writes.
    pub(crate) fn written(&self) -> Written<Var> {
        let mut op = *self;
        match op.written_mut() {
            Written::Nothing => Written::Nothing,
            Written::Value(to) => Written::Value(*to),
            Written::Address(to) => Written::Address(*to),
            Written::Results(to, count) => Written::Results(*to, count),
        }
    }

    /// The variable that it leaves one result in, and nothing else depends on.
    pub(crate) fn target(&self) -> Option<Var> {
        match self.written() {
            Written::Value(to) | Written::Results(to, 1) => Some(to),
            Written::Nothing | Written::Address(_) | Written::Results(..) => None,
        }
    }

    /// Has it leave its result in another variable; [`Self::target`] says whether it can.
    pub(crate) fn retarget(&mut self, var: Var) {
        match self.written_mut() {
            Written::Value(to) | Written::Results(to, 1) => *to = var,
            Written::Nothing | Written::Address(_) | Written::Results(..) => {
                debug_assert!(false, "a result that stays where it is");
            }
        }
    }

    /// The variables that it writes: so many from this one on.
    pub(crate) fn writes(&self) -> (Var, u32) {
        match self.written() {
            Written::Nothing => (0, 0),
            Written::Value(to) | Written::Address(to) => (to, 1),
            Written::Results(to, count) => (to, count),
        }
    }
}

impl Op {
    /// Hands `f` each value that is read.
    pub(crate) fn reads(&self, values: &[Value], mut f: impl FnMut(Value)) {
        let list = |(start, end): (u32, u32)| &values[start as usize..end as usize];
        let address = |place: &Place| place.address.map(Value::Var);
        match self {
            Op::Copy { from, .. } | Op::GlobalSet { from, .. } => f(*from),
            Op::Binary { a, b, .. } | Op::Divide { a, b, .. } => {
                f(*a);
                f(*b);
            }
            Op::Unary { a, .. } => f(*a),
            Op::Compare { compare, .. } => {
                f(compare.a);
                f(compare.b);
            }
            Op::Select { compare, a, b, .. } => {
                f(compare.a);
                f(compare.b);
                f(*a);
                f(*b);
            }
            Op::Check { base, .. } => f(Value::Var(*base)),
            Op::Address { base, .. } | Op::PacketAddress { base, .. } => f(*base),
            Op::Load { place, .. } => {
                address(place).into_iter().for_each(f);
            }
            Op::Store { from, place, .. } => {
                f(*from);
                address(place).into_iter().for_each(f);
            }
            Op::Call { arguments, .. } | Op::Host { arguments, .. } => {
                list(*arguments).iter().copied().for_each(f);
            }
            Op::CallIndirect {
                index, arguments, ..
            } => {
                f(*index);
                list(*arguments).iter().copied().for_each(f);
            }
            Op::Trap(_) | Op::GlobalGet { .. } | Op::Packet { .. } => {}
        }
    }
}

impl End {
    /// Hands `f` each value that is read.
    pub(crate) fn reads(&self, values: &[Value], mut f: impl FnMut(Value)) {
        match self {
            End::Jump(_) | End::Trap(_) => {}
            End::Branch { compare, .. } => {
                f(compare.a);
                f(compare.b);
            }
            End::Table { index, .. } => f(*index),
            End::Return((start, end)) => values[*start as usize..*end as usize]
                .iter()
                .copied()
                .for_each(f),
        }
    }

    /// Hands `f` each block that may follow, at most twice.
    pub(crate) fn successors(&self, mut f: impl FnMut(BlockId)) {
        match self {
            End::Jump(to) => f(*to),
            End::Branch {
                then, otherwise, ..
            } => {
                f(*then);
                f(*otherwise);
            }
            End::Table { blocks, .. } => blocks.iter().copied().for_each(f),
            End::Return(_) | End::Trap(_) => {}
        }
    }
}
