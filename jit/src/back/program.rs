// SPDX-License-Identifier: GPL-2.0-only
//! The code that all functions share: entry, calls and returns, dispatch through the table, traps,
//! exit.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use nf_wasm_shared::abi::trap::Trap;

use super::assembler::{Assembler, Label};
use super::frame::{slot_offset, FIRST_SLOT, MACHINE, RETURN_SLOT, USED_SHIFT, USED_SLOT};
use super::insn::{
    alu, exit, load, store, Alu, Jump, Reg, Size, Source, ALU32, ALU64, JMP32, R0, R1, R10, R7, R8,
    R9,
};
use super::switch::{switch, Case};
use crate::calls::Calls;
use crate::machine::{Machine, TRAPPED};
use crate::module::Module;
use crate::pointers::InPlace;
use crate::{Environment, Reads, Results, Unsupported, Work};

/// The kind of caller that a return site is in: a caller of this function, or of functions of this
/// type. Only they may return to the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Callers {
    /// The function with this index.
    Of(u32),
    /// A function in the table that has this type.
    OfType(u32),
}

/// The code of all functions.
pub(super) struct Program<'p> {
    module: &'p Module<'p>,
    pub(super) work: &'p Work<'p>,
    pub(super) environment: &'p Environment<'p>,
    in_place: Option<&'p InPlace>,
    pub(super) asm: Assembler,
    pub(super) calls: Calls,
    /// The entries of functions.
    entries: BTreeMap<u32, Label>,
    /// For each type, the code that looks up a function of that type in the table.
    dispatches: BTreeMap<u32, Label>,
    /// The return sites. Number 0 is the exit from the code.
    sites: Vec<(Callers, Label)>,
    traps: [Option<Label>; Trap::COUNT],
    host_trap: Option<Label>,
    /// The exit from the code. It stores the fuel.
    leave: Option<Label>,
    pub(super) charges_once: bool,
    pub(super) calls_host: bool,
    pub(super) reads_below: u64,
    pub(super) guard: u32,
    pub(super) reads_parameters: bool,
    pub(super) reads_in_place: Reads,
}

/// About how many bytes of Wasm become an instruction.
const BYTES_OF_AN_INSTRUCTION: usize = 2;

/// Offsets of the machine's fields.
mod offset {
    use super::Machine;
    use core::mem::offset_of;

    pub(super) const MEMORY: i16 = offset_of!(Machine, memory) as i16;
    pub(super) const FUEL: i16 = offset_of!(Machine, fuel) as i16;
    pub(super) const TRAP: i16 = offset_of!(Machine, trap) as i16;
    pub(super) const WINDOW: i16 = offset_of!(Machine, window) as i16;
    pub(super) const MINUS_END: i16 = offset_of!(Machine, minus_end) as i16;
}

impl<'p> Program<'p> {
    /// Starts with no code.
    pub(super) fn new(
        module: &'p Module<'p>,
        root: u32,
        environment: &'p Environment<'p>,
        in_place: Option<&'p InPlace>,
        work: &'p Work<'p>,
    ) -> Result<Self, Unsupported> {
        let calls = Calls::new(module, root, environment, work)?;
        let bodies = calls.functions.iter().filter_map(|it| module.body(*it));
        let bytes: usize = bodies.map(|body| body.as_bytes().len()).sum();
        let insns = (bytes / BYTES_OF_AN_INSTRUCTION).min(environment.max_instructions);
        Ok(Self {
            module,
            work,
            environment,
            in_place,
            asm: Assembler::with_room(insns),
            calls,
            entries: BTreeMap::new(),
            dispatches: BTreeMap::new(),
            sites: Vec::new(),
            traps: [None; Trap::COUNT],
            host_trap: None,
            leave: None,
            charges_once: false,
            calls_host: false,
            reads_below: 0,
            guard: 0,
            reads_parameters: false,
            reads_in_place: Reads::default(),
        })
    }
}

impl Program<'_> {
    fn push(&mut self, insn: super::insn::Insn) {
        self.asm.push(insn);
    }

    fn load(&mut self, to: Reg, base: Reg, offset: i16) {
        self.push(load(Size::B8, to, base, offset));
    }

    fn store(&mut self, base: Reg, offset: i16, source: Source) {
        self.push(store(Size::B8, base, offset, source));
    }

    /// Loads the fuel.
    pub(super) fn load_fuel(&mut self) {
        match self.environment.fuel {
            Some(fuel) => self.push(alu(ALU32, Alu::Mov, R8, Source::Imm(fuel as i32))),
            None => self.load(R8, R9, offset::FUEL),
        }
    }

    /// Whether there is only one frame, so that R9 is always the machine's address.
    pub(super) fn is_alone(&self) -> bool {
        !self.calls.nest
    }

    /// Whether only one place in the code charges fuel, and no helper does.
    pub(super) fn charges_once(&self) -> bool {
        self.charges_once
    }

    /// Loads the machine's address into `reg`.
    pub(super) fn machine(&mut self, reg: Reg) {
        if self.is_alone() {
            self.push(alu(ALU64, Alu::Mov, reg, Source::Reg(R9)));
        } else {
            self.load(reg, R10, MACHINE);
        }
    }

    /// The register with the machine's address. Loads it into `scratch` if there is none.
    pub(super) fn machine_in(&mut self, scratch: Reg) -> Reg {
        if self.is_alone() {
            return R9;
        }
        self.machine(scratch);
        scratch
    }

    /// The upper limit for computed addresses in linear memory.
    pub(super) fn limit(&self) -> u64 {
        let in_place = self.in_place.map(InPlace::limit);
        in_place.unwrap_or(self.environment.memory_bytes)
    }

    /// Loads the packet's address into `reg`.
    pub(super) fn packet(&mut self, reg: Reg) {
        let machine = self.machine_in(reg);
        self.load(reg, machine, offset::WINDOW);
    }

    /// Loads the negated address of the packet's end into `reg`.
    pub(super) fn minus_end(&mut self, reg: Reg) {
        let machine = self.machine_in(reg);
        self.load(reg, machine, offset::MINUS_END);
    }

    /// Emits the entry from the kernel to the first function. Returns the label that it returns to.
    pub(super) fn begin(&mut self, root: u32) -> Label {
        let finish = self.asm.label();
        self.sites.push((Callers::Of(root), finish));
        self.push(alu(ALU64, Alu::Mov, R9, Source::Reg(R1)));
        if !self.is_alone() {
            self.store(R10, MACHINE, Source::Reg(R9));
        }
        if self.environment.memory_bytes > 0 {
            self.load(R7, R9, offset::MEMORY);
        }
        if self.calls.root_is_called {
            self.store(R9, slot_offset(RETURN_SLOT), Source::Imm(0));
            for (at, parameter) in self.environment.parameters.iter().enumerate() {
                if let Some(value) = parameter {
                    // A store would sign-extend a constant. This zero-extends it.
                    let value = Source::Imm(*value as i32);
                    self.push(alu(ALU32, Alu::Mov, R1, value));
                    self.store(R9, slot_offset(FIRST_SLOT + at as u32), Source::Reg(R1));
                }
            }
        }
        if self.calls.may_overflow {
            // The interpreter's stack has results below the first frame.
            let results = self.module.type_of(root).results().len() as i32;
            let results = Source::Imm(results << USED_SHIFT);
            self.store(R9, slot_offset(USED_SLOT), results);
        }
        finish
    }

    /// Whether the function returns the verdict in R0.
    pub(super) fn gives_verdict(&self, function: u32) -> bool {
        let is_root = self.calls.functions.first() == Some(&function);
        is_root && !self.calls.root_is_called && self.environment.results == Results::Verdict
    }

    /// Traps unless R0 is a verdict.
    pub(super) fn check_verdict(&mut self) {
        let unknown = self.trap(Trap::UnknownVerdict);
        self.asm
            .branch(JMP32, Jump::Gt, R0, Source::Imm(1), unknown);
    }

    /// The entry of a function.
    pub(super) fn entry(&mut self, function: u32) -> Label {
        if let Some(label) = self.entries.get(&function) {
            return *label;
        }
        let label = self.asm.label();
        self.entries.insert(function, label);
        label
    }

    /// Slots of the interpreter's stack that a call of the host function takes.
    pub(super) fn host_slots(&self, function: u32) -> u32 {
        self.module.host_slots(function)
    }

    pub(super) fn may_overflow(&self) -> bool {
        self.calls.may_overflow
    }

    /// The code that calls a function of a type through the table, by the index in R1. Also returns
    /// the type's canonical index.
    pub(super) fn dispatch(&mut self, signature: u32) -> (u32, Label) {
        let signature = self.module.canonical(signature);
        let asm = &mut self.asm;
        let label = self.dispatches.entry(signature);
        (signature, *label.or_insert_with(|| asm.label()))
    }

    /// Makes a return site. Returns its label and its number.
    pub(super) fn site(&mut self, callers: Callers) -> (Label, i32) {
        let label = self.asm.label();
        self.sites.push((callers, label));
        (label, self.sites.len() as i32 - 1)
    }

    pub(super) fn trap(&mut self, trap: Trap) -> Label {
        let asm = &mut self.asm;
        *self.traps[trap as usize].get_or_insert_with(|| asm.label())
    }

    pub(super) fn host_trap(&mut self) -> Label {
        let asm = &mut self.asm;
        *self.host_trap.get_or_insert_with(|| asm.label())
    }

    /// Fails if the code is too large.
    pub(super) fn check_size(&self) -> Result<(), Unsupported> {
        match self.asm.len() > self.environment.max_instructions {
            true => Err(Unsupported::Size),
            false => Ok(()),
        }
    }

    /// Emits the returns of all functions. Functions of one type that are in the table share the
    /// code for returns from indirect calls, so that the code does not grow by functions times
    /// calls.
    pub(super) fn give_back(
        &mut self,
        root: u32,
        finish: Label,
        returns: &[(u32, Label)],
    ) -> Result<(), Unsupported> {
        let internal = self.trap(Trap::Internal);
        let in_table: BTreeSet<u32> = self.environment.table.iter().flatten().copied().collect();
        let mut waiting: BTreeMap<Callers, Vec<Case>> = BTreeMap::new();
        self.work.take(in_table.len() + self.sites.len())?;
        for (number, (callers, site)) in (0..).zip(&self.sites) {
            waiting.entry(*callers).or_default().push((number, *site));
        }
        // The shared code of each type, if it is needed.
        let mut by_type: BTreeMap<u32, Label> = BTreeMap::new();
        for (function, label) in returns {
            let signature = self.module.signature(*function);
            let others = match in_table.contains(function) {
                true if waiting.contains_key(&Callers::OfType(signature)) => {
                    let asm = &mut self.asm;
                    Some(*by_type.entry(signature).or_insert_with(|| asm.label()))
                }
                _ => None,
            };
            let by_name = waiting.remove(&Callers::Of(*function)).unwrap_or_default();
            debug_assert!(*function != root || by_name.contains(&(0, finish)));
            self.find_back(*label, &by_name, others, internal)?;
        }
        for (signature, label) in by_type {
            let sites = waiting.remove(&Callers::OfType(signature));
            self.find_back(label, &sites.unwrap_or_default(), None, internal)?;
        }
        self.dispatch_tables()
    }

    /// Emits the jump from `label`, where a function returns, to the return site whose number is in
    /// its frame. The site is one of `sites`, which are in order, or one that the code at `others`
    /// finds.
    fn find_back(
        &mut self,
        label: Label,
        sites: &[Case],
        others: Option<Label>,
        internal: Label,
    ) -> Result<(), Unsupported> {
        match (sites, others) {
            // A single site needs no number.
            ([(_, site)], None) => self.asm.bind_to(label, *site),
            ([], Some(others)) => self.asm.bind_to(label, others),
            _ => {
                self.work.take(1 + 2 * sites.len())?;
                let mut cases = Vec::with_capacity(1 + 2 * sites.len());
                // Without others, no other number occurs. So numbers in between may lead anywhere.
                if sites.first().is_none_or(|(number, _)| *number != 0) {
                    cases.push((0, others.unwrap_or(internal)));
                }
                for (at, (number, site)) in sites.iter().enumerate() {
                    cases.push((*number, *site));
                    let next = sites.get(at + 1).map(|(next, _)| *next);
                    if let (Some(others), true) = (others, next != Some(number + 1)) {
                        cases.push((number + 1, others));
                    }
                }
                self.asm.bind(label);
                self.load(R0, R9, slot_offset(RETURN_SLOT));
                switch(&mut self.asm, R0, &cases);
            }
        }
        self.check_size()
    }

    /// Emits the code that looks up functions in the table.
    fn dispatch_tables(&mut self) -> Result<(), Unsupported> {
        let table = Table::of(self.environment, self.module);
        self.work.take(self.environment.table.len())?;
        let dispatches: Vec<(u32, Label)> = self
            .dispatches
            .iter()
            .map(|(signature, label)| (*signature, *label))
            .collect();
        for (signature, label) in dispatches {
            let (null, other, outside) = (
                self.trap(Trap::IndirectCallToNull),
                self.trap(Trap::BadSignature),
                self.trap(Trap::TableOutOfBounds),
            );
            let own = table.of_type.get(&signature).map_or(&[][..], Vec::as_slice);
            self.work.take(1 + 4 * (own.len() + table.nulls.len()))?;
            // Ranges of indices, and their labels.
            let mut parts: Vec<(u32, u32, Label)> = Vec::new();
            parts.extend(table.nulls.iter().map(|(start, end)| (*start, *end, null)));
            for (at, function) in own {
                parts.push((*at, at + 1, self.entry(*function)));
            }
            parts.sort_unstable_by_key(|(start, ..)| *start);
            let mut cases: Vec<Case> = Vec::new();
            let mut next = 0;
            for (start, end, label) in parts {
                if start > next {
                    cases.push((next, other));
                }
                cases.push((start, label));
                next = end;
            }
            let len = self.environment.table.len() as u32;
            if next < len {
                cases.push((next, other));
            }
            cases.push((len, outside));
            self.asm.bind(label);
            switch(&mut self.asm, R1, &cases);
            self.check_size()?;
        }
        Ok(())
    }

    /// Emits the exit, to which the first function returns.
    pub(super) fn finish(&mut self, finish: Label) {
        self.asm.bind(finish);
        match self.environment.results {
            Results::Stay => self.push(alu(ALU32, Alu::Mov, R0, Source::Imm(0))),
            Results::Verdict if self.calls.root_is_called => {
                self.load(R0, R9, slot_offset(FIRST_SLOT));
                self.check_verdict();
            }
            Results::Verdict => {}
        }
        let leave = self.asm.label();
        self.leave = Some(leave);
        self.asm.bind(leave);
        if !self.charges_once {
            self.store(R9, offset::FUEL, Source::Reg(R8));
        }
        self.push(exit());
    }

    /// Emits the traps. They exit with the trap's number.
    pub(super) fn end(&mut self) {
        let trapped = self.asm.label();
        for trap in Trap::ALL {
            if let Some(label) = self.traps[trap as usize] {
                self.asm.bind(label);
                let number = Source::Imm((TRAPPED | trap as u32) as i32);
                self.push(alu(ALU32, Alu::Mov, R0, number));
                self.asm.jump(trapped);
            }
        }
        if let Some(label) = self.host_trap {
            self.asm.bind(label);
            // The helper stored the complement of the fuel, and the trap.
            self.push(alu(ALU64, Alu::Xor, R8, Source::Imm(-1)));
            let machine = self.machine_in(R1);
            self.load(R0, machine, offset::TRAP);
            let trapped = Source::Imm(TRAPPED as i32);
            self.push(alu(ALU32, Alu::Or, R0, trapped));
        }
        self.asm.bind(trapped);
        if !self.is_alone() {
            self.load(R9, R10, MACHINE);
        }
        if let Some(leave) = self.leave {
            self.asm.jump(leave);
        }
    }
}

/// The table, sorted by type: the work for a type is proportional to its functions.
struct Table {
    /// Ranges of null elements.
    nulls: Vec<(u32, u32)>,
    /// For each type, the indices of elements, and their functions.
    of_type: BTreeMap<u32, Vec<(u32, u32)>>,
}

impl Table {
    fn of(environment: &Environment<'_>, module: &Module<'_>) -> Self {
        let mut nulls: Vec<(u32, u32)> = Vec::new();
        let mut of_type: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        for (at, element) in (0..).zip(environment.table) {
            match (element, nulls.last_mut()) {
                (Some(function), _) => {
                    let signature = module.signature(*function);
                    of_type.entry(signature).or_default().push((at, *function));
                }
                (None, Some((_, end))) if *end == at => *end += 1,
                (None, _) => nulls.push((at, at + 1)),
            }
        }
        Self { nulls, of_type }
    }
}
