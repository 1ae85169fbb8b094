// SPDX-License-Identifier: GPL-2.0-only
//! The call graph: the functions that the exported one can reach, and how deeply calls nest.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use nf_wasm_shared::abi::limits;

use crate::module::Module;
use crate::reader::{Operator, Operators};
use crate::{Environment, Unsupported, Work};

/// Maximum slots of a compiled frame, in addition to those of the interpreter's frame.
pub(crate) const MORE_SLOTS: u32 = 24;

/// Facts about the call graph.
#[derive(Debug)]
pub(crate) struct Calls {
    /// All functions that can be reached. The first is the exported one.
    pub(crate) functions: Vec<u32>,
    /// Whether calls may overflow the interpreter's stack, so that each call has to be checked.
    pub(crate) may_overflow: bool,
    /// Whether any of them calls a function that the module defines, or calls through the table.
    pub(crate) nest: bool,
    /// Whether the first one can be called from within the module.
    pub(crate) root_is_called: bool,
    /// Maximum slots of all frames together.
    pub(crate) slots: u32,
}

/// A node that is being visited.
struct Visit {
    node: u32,
    callees: Vec<u32>,
    /// Number of callees that were visited.
    at: usize,
    /// Maximum slots that a call of a host function takes: the interpreter puts its arguments, and
    /// then its results in the same slots, after the frame.
    host_slots: u32,
}

/// The stack use of a function and its callees.
#[derive(Clone, Copy, Default)]
struct Depth {
    /// Slots of the interpreter's frames.
    slots: u32,
    /// Frames.
    frames: u32,
}

enum State {
    /// Its callees are being visited.
    Open,
    Done(Depth),
}

/// Added to a type's index, the node of the functions of that type in the table. All indirect calls
/// of the type share the node, which keeps the number of edges low. Other nodes are functions'
/// indices.
const OF_TYPE: u32 = 1 << 24;

impl Calls {
    pub(crate) fn new(
        module: &Module<'_>,
        root: u32,
        environment: &Environment<'_>,
        work: &Work<'_>,
    ) -> Result<Self, Unsupported> {
        work.take(environment.table.len())?;
        let mut by_type: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for function in environment.table.iter().flatten() {
            let of_type = by_type.entry(module.signature(*function)).or_default();
            of_type.push(*function);
        }
        let mut nest = false;
        let mut visit = |node: u32| {
            let mut visit = Visit {
                node,
                callees: Vec::new(),
                at: 0,
                host_slots: 0,
            };
            match node.checked_sub(OF_TYPE) {
                None => nest |= visit.direct_callees(module, work)?,
                Some(ty) => {
                    visit.callees = by_type.remove(&ty).unwrap_or_default();
                    if visit.callees.iter().any(|it| *it < module.imports) {
                        let what = "an imported function in the table";
                        return Err(Unsupported::Operator(what));
                    }
                }
            }
            Ok(visit)
        };
        let mut functions = Vec::new();
        let (mut is_recursive, mut root_is_called) = (false, false);
        let mut states: BTreeMap<u32, State> = BTreeMap::new();
        let mut path = vec![visit(root)?];
        states.insert(root, State::Open);
        functions.push(root);
        while let Some(last) = path.last_mut() {
            if let Some(callee) = last.callees.get(last.at) {
                last.at += 1;
                root_is_called |= *callee == root;
                match states.get(callee) {
                    Some(State::Open) => is_recursive = true,
                    Some(State::Done(_)) => {}
                    None => {
                        let callee = *callee;
                        states.insert(callee, State::Open);
                        if callee < OF_TYPE {
                            functions.push(callee);
                        }
                        path.push(visit(callee)?);
                    }
                }
                continue;
            }
            let mut depth = Depth {
                slots: last.host_slots,
                frames: 0,
            };
            for callee in &last.callees {
                if let Some(State::Done(of_callee)) = states.get(callee) {
                    depth.slots = depth.slots.max(of_callee.slots);
                    depth.frames = depth.frames.max(of_callee.frames);
                }
            }
            if last.node < OF_TYPE {
                depth.slots += environment.frame_slots(last.node);
                depth.frames += 1;
            }
            states.insert(last.node, State::Done(depth));
            path.pop();
        }
        let depth = match states.get(&root) {
            Some(State::Done(depth)) => *depth,
            Some(State::Open) | None => Depth::default(),
        };
        let results = module.type_of(root).results().len() as u32;
        let may_overflow = is_recursive
            || depth.slots + results >= limits::VALUE_STACK_SLOTS
            || depth.frames > limits::CALL_DEPTH;
        let (slots, frames) = if may_overflow {
            (limits::VALUE_STACK_SLOTS, limits::CALL_DEPTH)
        } else {
            (depth.slots, depth.frames)
        };
        Ok(Self {
            functions,
            may_overflow,
            nest,
            root_is_called,
            // The last frame's arguments or results lie after it.
            slots: slots + frames * MORE_SLOTS + 2 + limits::PARAMS + limits::RESULTS,
        })
    }
}

impl Visit {
    /// Finds a function's callees. Returns whether it calls a function that the module defines, or
    /// calls through the table.
    fn direct_callees(
        &mut self,
        module: &Module<'_>,
        work: &Work<'_>,
    ) -> Result<bool, Unsupported> {
        let body = module.body(self.node).ok_or(Unsupported::Malformed)?;
        let mut callees = BTreeSet::new();
        let mut operators = Operators::of(body)?;
        loop {
            work.take(1 + operators.skip_to_call()?)?;
            let Some(operator) = operators.next() else {
                break;
            };
            match operator? {
                Operator::Call(function) if function < module.imports => {
                    self.host_slots = self.host_slots.max(module.host_slots(function));
                }
                Operator::Call(function) => {
                    callees.insert(function);
                }
                Operator::CallIndirect { ty, .. } => {
                    callees.insert(OF_TYPE + module.canonical(ty));
                }
                // No other operator calls functions, except those that are not compiled.
                _ => {}
            }
        }
        self.callees = callees.into_iter().collect();
        Ok(!self.callees.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use nf_wasm_shared::abi::limits;

    use super::Calls;
    use crate::testing::{environment, parse, wasm, work};

    fn calls(fields: &str) -> Calls {
        let wasm = wasm(fields);
        Calls::new(&parse(&wasm), 0, &environment(), &work()).unwrap()
    }

    #[test]
    fn what_is_not_called_is_left_out() {
        let calls = calls("(func (call 2)) (func) (func (call 3) (call 3)) (func)");
        assert_eq!(calls.functions, [0, 2, 3]);
        assert!(calls.nest && !calls.may_overflow && !calls.root_is_called);
        // Three frames of ten slots, at most.
        assert!(calls.slots >= 30 && calls.slots < limits::VALUE_STACK_SLOTS);
    }

    #[test]
    fn recursion_may_overflow() {
        assert!(calls("(func (call 1)) (func (call 1))").may_overflow);
        assert!(calls("(func (call 0))").root_is_called);
    }
}
