// SPDX-License-Identifier: GPL-2.0-only
//! Chooses a module's memory, functions and table, and whether it has large parts.

use arbitrary::{Result, Unstructured};
use nf_wasm_shared::abi::limits;
use wasm_encoder::{TypeSection, ValType};
use ValType::{I32, I64};

use super::{COUNTERS, LOCALS};

/// Parameters and results.
pub(super) type Signature = (Vec<ValType>, Vec<ValType>);

/// The properties that are drawn once per module.
pub(super) struct Shape {
    pub(super) pages: u64,
    /// Signatures of the functions. The first function is exported.
    pub(super) signatures: Vec<Signature>,
    /// The table's elements: function indices, or null.
    pub(super) table: Vec<Option<u32>>,
    /// Roughly how many instructions a function has.
    pub(super) instructions: u32,
    /// The first function is longer than the reach of a near jump.
    pub(super) is_long: bool,
    /// Functions have hundreds of locals, and deep stacks.
    pub(super) has_large_frames: bool,
}

/// Random types, at most `most` of them.
pub(super) fn list(u: &mut Unstructured<'_>, most: usize) -> Result<Vec<ValType>> {
    let len = u.int_in_range(0..=most)?;
    (0..len)
        .map(|_| Ok(if u.ratio(2, 3)? { I32 } else { I64 }))
        .collect()
}

impl Shape {
    pub(super) fn new(u: &mut Unstructured<'_>, only_reads: bool) -> Result<Self> {
        let pages = match u.int_in_range(0..=63_u8)? {
            0 if only_reads => 1,
            0 => 0,
            1 => limits::MEMORY_PAGES.into(),
            2..=9 => 1,
            10..=15 => u.int_in_range(3..=8)?,
            _ => 2,
        };
        let mut root = vec![I32];
        if !only_reads && u.ratio(1, 8)? {
            root = list(u, 4)?;
        }
        let mut signatures = vec![
            (vec![I32, I32, I32], root),
            (vec![I32], vec![I32]),
            (vec![I64, I32], vec![I64]),
            (vec![], vec![I32, I64]),
            (vec![I32], vec![I32]),
        ];
        if only_reads {
            // A module that only reads has no calls, so the others would be unused.
            signatures.truncate(1);
        } else {
            for _ in 0..u.int_in_range(0..=2)? {
                let (params, results) = match u.int_in_range(0..=7_u8)? {
                    0 => (limits::PARAMS, limits::RESULTS),
                    _ => (8, 4),
                };
                signatures.push((list(u, params as usize)?, list(u, results as usize)?));
            }
        }
        let mut table = vec![None, Some(1), Some(2), Some(4), Some(1), None, None, None];
        if only_reads {
            table.fill(None);
        } else if u.ratio(1, 2)? {
            let last = signatures.len() as u32 - 1;
            for element in &mut table[3..] {
                *element = match u.int_in_range(0..=7_u8)? {
                    0 => None,
                    1 => Some(0),
                    _ => Some(u.int_in_range(0..=last)?),
                };
            }
        }
        Ok(Self {
            pages,
            signatures,
            table,
            instructions: if u.ratio(1, 8)? { 250 } else { 60 },
            is_long: !only_reads && u.ratio(1, 128)?,
            has_large_frames: u.ratio(1, 64)?,
        })
    }

    /// Bytes of the memory.
    pub(super) fn bytes(&self) -> u64 {
        self.pages << 16
    }

    /// Types of a function's locals, without its parameters.
    pub(super) fn locals(&self, u: &mut Unstructured<'_>, function: usize) -> Result<Vec<ValType>> {
        let more = match u.int_in_range(0..=7_u8)? {
            0 => u.int_in_range(10..=40)?,
            _ => 0,
        };
        let more = match self.has_large_frames && (function == 0 || u.ratio(1, 4)?) {
            true => u.int_in_range(150..=900)?,
            false => more,
        };
        let mut locals = LOCALS.to_vec();
        locals.extend((0..more).map(|at| if at % 3 == 0 { I64 } else { I32 }));
        locals.extend([I32; COUNTERS as usize]);
        Ok(locals)
    }
}

/// The types of a module: first one type for each function, then those of blocks.
pub(super) struct Types {
    functions: usize,
    all: Vec<Signature>,
}

impl Types {
    pub(super) fn of(functions: &[Signature]) -> Self {
        Self {
            functions: functions.len(),
            all: functions.to_vec(),
        }
    }

    /// The index of the type of a block with these parameters and results.
    pub(super) fn block(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        let blocks = &self.all[self.functions..];
        let found = blocks
            .iter()
            .position(|(of, to)| of == params && to == results);
        let at = found.unwrap_or_else(|| {
            self.all.push((params.to_vec(), results.to_vec()));
            self.all.len() - 1 - self.functions
        });
        (self.functions + at) as u32
    }

    pub(super) fn section(&self) -> TypeSection {
        let mut types = TypeSection::new();
        for (params, results) in &self.all {
            types
                .ty()
                .function(params.iter().copied(), results.iter().copied());
        }
        types
    }
}
