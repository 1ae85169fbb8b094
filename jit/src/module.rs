// SPDX-License-Identifier: GPL-2.0-only
//! Parses the sections of a valid Wasm module that the compiler needs.

use alloc::vec;
use alloc::vec::Vec;
use wasmparser::{
    CompositeInnerType, ExternalKind, FuncType, FunctionBody, Parser, Payload, TypeRef,
};

use crate::{Unsupported, Work};

/// The parsed parts of a module.
#[derive(Debug, Default)]
pub(crate) struct Module<'a> {
    /// Its function types.
    pub(crate) types: Vec<FuncType>,
    /// For each type, the first equal type.
    canonical: Vec<u32>,
    /// The type of each function, imported ones first.
    pub(crate) functions: Vec<u32>,
    /// Number of imported functions.
    pub(crate) imports: u32,
    /// The bodies of the other functions.
    pub(crate) bodies: Vec<FunctionBody<'a>>,
    /// Exported functions: names and indices.
    exports: Vec<(&'a str, u32)>,
}

impl<'a> Module<'a> {
    pub(crate) fn parse(wasm: &'a [u8], work: &Work<'_>) -> Result<Self, Unsupported> {
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            work.take(1)?;
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        for ty in group?.into_types() {
                            if let CompositeInnerType::Func(ty) = ty.composite_type.inner {
                                work.take(1 + ty.params().len() + ty.results().len())?;
                                module.types.push(ty);
                            }
                        }
                    }
                    module.compare_types(work)?;
                }
                Payload::ImportSection(imports) => {
                    work.take(imports.count() as usize)?;
                    for import in imports {
                        if let TypeRef::Func(ty) = import?.ty {
                            module.functions.push(ty);
                            module.imports += 1;
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    work.take(functions.count() as usize)?;
                    for ty in functions {
                        module.functions.push(ty?);
                    }
                }
                Payload::ExportSection(exports) => {
                    work.take(exports.count() as usize)?;
                    for export in exports {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            module.exports.push((export.name, export.index));
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => module.bodies.push(body),
                _ => {}
            }
        }
        Ok(module)
    }

    /// Finds equal types.
    fn compare_types(&mut self, work: &Work<'_>) -> Result<(), Unsupported> {
        let types = &self.types;
        let mut order: Vec<u32> = (0..types.len() as u32).collect();
        work.take(order.len() * (1 + order.len().checked_ilog2().unwrap_or(0) as usize))?;
        order.sort_unstable_by(|a, b| {
            let types = types[*a as usize].cmp(&types[*b as usize]);
            // Among equal types, the first comes first.
            types.then(a.cmp(b))
        });
        self.canonical = vec![0; types.len()];
        let mut first = None;
        for ty in order {
            let same = first.filter(|first| types[*first as usize] == types[ty as usize]);
            self.canonical[ty as usize] = *first.insert(same.unwrap_or(ty));
        }
        Ok(())
    }

    pub(crate) fn exported(&self, name: &str) -> Option<u32> {
        let found = self.exports.iter().find(|(it, _)| *it == name);
        found.map(|(_, function)| *function)
    }

    /// The type of the function with index `function`.
    pub(crate) fn type_of(&self, function: u32) -> &FuncType {
        &self.types[self.functions[function as usize] as usize]
    }

    /// Slots of the interpreter's stack that a call of the host function takes, besides frames: for
    /// its arguments, and then for its results in the same slots.
    pub(crate) fn host_slots(&self, function: u32) -> u32 {
        let ty = self.type_of(function);
        ty.params().len().max(ty.results().len()) as u32
    }

    /// The first type that is equal.
    pub(crate) fn canonical(&self, ty: u32) -> u32 {
        self.canonical[ty as usize]
    }

    /// The first type that is equal to that of the function with index `function`.
    pub(crate) fn signature(&self, function: u32) -> u32 {
        self.canonical(self.functions[function as usize])
    }

    /// The body of the function with index `function`, if it has one.
    pub(crate) fn body(&self, function: u32) -> Option<&FunctionBody<'a>> {
        let index = function.checked_sub(self.imports)?;
        self.bodies.get(index as usize)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{parse, wasm};

    #[test]
    fn types_that_are_the_same_are_one() {
        let wasm = wasm(
            "(type $a (func (param i32))) (type $b (func)) (type $c (func (param i32)))
             (func (type $b)) (func (export \"f\") (type $c))",
        );
        let module = parse(&wasm);
        assert_eq!([0, 1, 2].map(|ty| module.canonical(ty)), [0, 1, 0]);
        assert_eq!((module.signature(0), module.signature(1)), (1, 0));
        assert_eq!(
            (module.exported("f"), module.exported("g")),
            (Some(1), None)
        );
    }
}
