// SPDX-License-Identifier: GPL-2.0-only
//! The operations of the IR, and the facts about each: reads, writes, calls, effects.

use nf_wasm_shared::abi::trap::Trap;

use super::{Access, Binary, Compare, Divide, Extent, Mask, Place, Unary, Value, Var, Width};

/// What a call out of compiled code runs: a host function, or a bulk operator of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callee {
    /// A function that the module imports, by its index.
    Import(u32),
    MemoryCopy,
    MemoryFill,
}

/// An operation. A list of values is a range of [`Function::values`].
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
    /// `a` if the comparison holds, else `b`.
    Select {
        to: Var,
        compare: Compare,
        a: Value,
        b: Value,
    },
    /// Traps unless linear memory has `extent` bytes from `base` on.
    Check {
        base: Var,
        extent: Extent,
    },
    /// Always traps. The operations that follow are never reached.
    Trap(Trap),
    /// The native address of `base + offset`. Does not check it. While a check is mispredicted, the
    /// mask keeps the address in linear memory.
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
    /// The native address of the packet's byte `base - less`. Traps unless the packet has `extent`
    /// bytes from there on. While that check is mispredicted, it is 0.
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
    /// Calls a function that the module defines. Writes `results` variables from `to` on.
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
    /// Calls the host. Writes the result, if there is one, to `to`.
    Host {
        callee: Callee,
        arguments: (u32, u32),
        to: Option<Var>,
    },
}

/// The variables that an operation writes, and whether the front end may redirect the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written<V> {
    Nothing,
    /// A value. It may be redirected to another variable.
    Value(V),
    /// A native address. It must not be redirected, because the front end records its variable.
    Address(V),
    /// The results of a call: the first variable, and their number.
    Results(V, u32),
}

/// The possible values of an operation's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Anything,
    /// 1 or 0.
    Truth,
    AtMost(u64),
    Copy(Value),
    Either(Value, Value),
    Binary(Binary, Width, Value, Value),
    Divide(Divide, Width, Value, Value),
}

/// The kind of call that an operation makes. It decides which registers are preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    Nothing,
    /// A helper.
    Helper,
    /// A function of the module.
    Function,
}

/// No variable. A function has far fewer.
const NONE: Var = Var::MAX;

/// All facts about an operation, except for its instructions.
struct Facts<'op> {
    /// The variables that it reads, in order. [`NONE`] stands for none.
    reads: [Var; 4],
    /// Further values that it reads: a range of [`super::Function::values`].
    list: (u32, u32),
    writes: Written<&'op mut Var>,
    outcome: Outcome,
    calls: Calls,
    /// Whether it changes memory, globals or the host's state.
    has_effects: bool,
}

impl<'op> Facts<'op> {
    /// The facts of an operation that only reads and writes these.
    #[inline(always)]
    fn new<const N: usize>(reads: [Value; N], writes: Written<&'op mut Var>) -> Self {
        let mut all = [NONE; 4];
        for (to, value) in all.iter_mut().zip(reads) {
            if let Value::Var(var) = value {
                *to = var;
            }
        }
        Self {
            reads: all,
            list: (0, 0),
            writes,
            outcome: Outcome::Anything,
            calls: Calls::Nothing,
            has_effects: false,
        }
    }

    #[inline(always)]
    fn list(self, list: (u32, u32)) -> Self {
        Self { list, ..self }
    }

    #[inline(always)]
    fn outcome(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    #[inline(always)]
    fn calls(self, calls: Calls) -> Self {
        Self { calls, ..self }
    }

    #[inline(always)]
    fn effects(self) -> Self {
        Self {
            has_effects: true,
            ..self
        }
    }
}

/// What the allocation of registers needs to know of an operation.
pub(crate) struct Uses {
    reads: [Var; 4],
    list: (u32, u32),
    /// The variables that it writes: the first, and their number.
    pub(crate) writes: (Var, u32),
    /// The kind of call that it makes.
    pub(crate) calls: Calls,
}

impl Uses {
    /// Passes each variable that it reads to `f`.
    #[inline(always)]
    pub(crate) fn reads(&self, values: &[Value], mut f: impl FnMut(Var)) {
        for var in self.reads {
            if var != NONE {
                f(var);
            }
        }
        let (start, end) = self.list;
        if start < end {
            let list = &values[start as usize..end as usize];
            list.iter().filter_map(Value::var).for_each(f);
        }
    }
}

impl Op {
    /// The table of facts. All other functions use it. It has no wildcard arm, so a new operation
    /// does not compile until it is added here.
    #[inline(always)]
    fn facts(&mut self) -> Facts<'_> {
        use Written::{Address, Nothing, Results, Value as One};
        match self {
            Op::Copy { to, from } => Facts::new([*from], One(to)).outcome(Outcome::Copy(*from)),
            Op::Binary {
                op,
                width,
                to,
                a,
                b,
            } => Facts::new([*a, *b], One(to))
                .outcome(Outcome::Binary(*op, *width, *a, *b))
                .calls(op.calls(*b)),
            Op::Divide {
                op,
                width,
                to,
                a,
                b,
            } => Facts::new([*a, *b], One(to))
                .outcome(Outcome::Divide(*op, *width, *a, *b))
                .calls(op.calls()),
            Op::Unary { op, to, a, .. } => Facts::new([*a], One(to))
                .outcome(op.max().map_or(Outcome::Anything, Outcome::AtMost))
                .calls(op.calls()),
            Op::Compare { to, compare } => {
                Facts::new([compare.a, compare.b], One(to)).outcome(Outcome::Truth)
            }
            Op::Select { to, compare, a, b } => {
                Facts::new([compare.a, compare.b, *a, *b], One(to)).outcome(Outcome::Either(*a, *b))
            }
            Op::Check { base, .. } => Facts::new([Value::Var(*base)], Nothing),
            Op::Trap(_) => Facts::new([], Nothing),
            Op::Address { to, base, .. } => Facts::new([*base], Address(to)),
            Op::Packet { to } => Facts::new([], Address(to)),
            Op::PacketAddress { to, base, .. } => Facts::new([*base], Address(to)),
            Op::Load { to, access, place } => {
                let outcome = access.max().map_or(Outcome::Anything, Outcome::AtMost);
                match place.address {
                    Some(address) => Facts::new([Value::Var(address)], One(to)),
                    None => Facts::new([], One(to)),
                }
                .outcome(outcome)
            }
            Op::Store { from, place, .. } => match place.address {
                Some(address) => Facts::new([*from, Value::Var(address)], Nothing),
                None => Facts::new([*from], Nothing),
            }
            .effects(),
            Op::GlobalGet { to, .. } => Facts::new([], One(to)),
            Op::GlobalSet { from, .. } => Facts::new([*from], Nothing).effects(),
            Op::Call {
                arguments,
                to,
                results,
                ..
            } => Facts::new([], Results(to, *results))
                .list(*arguments)
                .calls(Calls::Function)
                .effects(),
            Op::CallIndirect {
                index,
                arguments,
                to,
                results,
                ..
            } => Facts::new([*index], Results(to, *results))
                .list(*arguments)
                .calls(Calls::Function)
                .effects(),
            Op::Host { arguments, to, .. } => Facts::new([], to.as_mut().map_or(Nothing, One))
                .list(*arguments)
                .calls(Calls::Helper)
                .effects(),
        }
    }

    /// Its reads, its writes and its kind of call.
    #[inline(always)]
    pub(crate) fn uses(&self) -> Uses {
        let mut op = *self;
        let facts = op.facts();
        Uses {
            reads: facts.reads,
            list: facts.list,
            writes: match facts.writes {
                Written::Nothing => (0, 0),
                Written::Value(to) | Written::Address(to) => (*to, 1),
                Written::Results(to, count) => (*to, count),
            },
            calls: facts.calls,
        }
    }

    /// Replaces each variable that it reads by what `f` returns for it, except for those in
    /// [`super::Function::values`], whose range this returns.
    pub(crate) fn rename_reads(&mut self, f: impl Fn(Var) -> Var) -> (u32, u32) {
        let value = |value: &mut Value| {
            if let Value::Var(var) = value {
                *var = f(*var);
            }
        };
        let place = |place: &mut Place| {
            if let Some(var) = &mut place.address {
                *var = f(*var);
            }
        };
        match self {
            Op::Copy { from: a, .. } | Op::Unary { a, .. } | Op::GlobalSet { from: a, .. } => {
                value(a);
            }
            Op::Binary { a, b, .. } | Op::Divide { a, b, .. } => {
                value(a);
                value(b);
            }
            Op::Compare { compare, .. } => {
                value(&mut compare.a);
                value(&mut compare.b);
            }
            Op::Select { compare, a, b, .. } => {
                for of in [&mut compare.a, &mut compare.b, a, b] {
                    value(of);
                }
            }
            Op::Check { base, .. } => *base = f(*base),
            Op::Address { base, .. } | Op::PacketAddress { base, .. } => value(base),
            Op::Load { place: at, .. } => place(at),
            Op::Store {
                from, place: at, ..
            } => {
                value(from);
                place(at);
            }
            Op::Call { arguments, .. } | Op::Host { arguments, .. } => return *arguments,
            Op::CallIndirect {
                index, arguments, ..
            } => {
                value(index);
                return *arguments;
            }
            Op::Trap(_) | Op::Packet { .. } | Op::GlobalGet { .. } => {}
        }
        (0, 0)
    }

    /// The variables that it writes, and whether they may be redirected.
    pub(crate) fn written(&self) -> Written<Var> {
        let mut op = *self;
        match op.facts().writes {
            Written::Nothing => Written::Nothing,
            Written::Value(to) => Written::Value(*to),
            Written::Address(to) => Written::Address(*to),
            Written::Results(to, count) => Written::Results(*to, count),
        }
    }

    /// The variables that it writes: the first, and their number.
    pub(crate) fn writes(&self) -> (Var, u32) {
        self.uses().writes
    }

    /// The variable of its result, if the result may be redirected.
    pub(crate) fn target(&self) -> Option<Var> {
        match self.written() {
            Written::Value(to) | Written::Results(to, 1) => Some(to),
            Written::Nothing | Written::Address(_) | Written::Results(..) => None,
        }
    }

    /// Redirects its result. Only allowed if [`Self::target`] returns a variable.
    pub(crate) fn retarget(&mut self, var: Var) {
        match self.facts().writes {
            Written::Value(to) | Written::Results(to, 1) => *to = var,
            Written::Nothing | Written::Address(_) | Written::Results(..) => {
                debug_assert!(false, "a result that must not be redirected");
            }
        }
    }

    /// The possible values of its result.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut op = *self;
        op.facts().outcome
    }

    /// The kind of call that it makes.
    pub(crate) fn calls(&self) -> Calls {
        self.uses().calls
    }

    /// Whether it can be left out if nobody reads its result: it has no effects and never traps.
    pub(crate) fn only_computes(&self) -> bool {
        match self {
            Op::Copy { .. }
            | Op::Binary { .. }
            | Op::Unary { .. }
            | Op::Compare { .. }
            | Op::Select { .. }
            | Op::Address { .. }
            | Op::Packet { .. }
            | Op::Load { .. }
            | Op::GlobalGet { .. } => true,
            Op::Divide { .. }
            | Op::Check { .. }
            | Op::Trap(_)
            | Op::PacketAddress { .. }
            | Op::Store { .. }
            | Op::GlobalSet { .. }
            | Op::Call { .. }
            | Op::CallIndirect { .. }
            | Op::Host { .. } => false,
        }
    }

    /// Whether it changes memory, globals or the host's state.
    pub(crate) fn has_effects(&self) -> bool {
        let mut op = *self;
        op.facts().has_effects
    }
}
