// SPDX-License-Identifier: GPL-2.0-only
//! Builds modules byte by byte, with encodings that an assembler does not write.

/// Section ids.
pub mod id {
    #![allow(missing_docs, reason = "they are the specification's own words")]
    pub const CUSTOM: u8 = 0;
    pub const TYPE: u8 = 1;
    pub const IMPORT: u8 = 2;
    pub const FUNCTION: u8 = 3;
    pub const TABLE: u8 = 4;
    pub const MEMORY: u8 = 5;
    pub const GLOBAL: u8 = 6;
    pub const EXPORT: u8 = 7;
    pub const START: u8 = 8;
    pub const ELEMENT: u8 = 9;
    pub const CODE: u8 = 10;
    pub const DATA: u8 = 11;
    pub const DATA_COUNT: u8 = 12;
    pub const TAG: u8 = 13;
}

/// The largest `u32` in LEB128: the size that a bomb declares.
pub const HUGE: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x0f];

/// The type of `nfw_filter`, `(i32, i32, i32) -> i32`.
const FILTER_TYPE: [u8; 7] = [0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f];
/// `number` as LEB128.
pub fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// `number` as LEB128 of exactly five bytes, the maximum.
pub fn long_leb(number: u32) -> [u8; 5] {
    core::array::from_fn(|at| {
        let low = (number >> (7 * at)) as u8 & 0x7f;
        if at < 4 {
            low | 0x80
        } else {
            low
        }
    })
}

/// Items, preceded by their number.
pub fn vector<T: AsRef<[u8]>>(items: &[T]) -> Vec<u8> {
    let mut bytes = leb(items.len() as u32);
    items.iter().for_each(|item| bytes.extend(item.as_ref()));
    bytes
}

/// Bytes, preceded by their length.
pub fn sized(content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut bytes = leb(content.len() as u32);
    bytes.extend(content);
    bytes
}

/// A module under construction.
#[derive(Debug)]
pub struct Module(Vec<u8>);

impl Module {
    /// A module with only magic and version.
    pub fn new() -> Self {
        Self(b"\0asm\x01\0\0\0".to_vec())
    }

    /// Adds a section.
    #[must_use]
    pub fn section(mut self, id: u8, content: impl AsRef<[u8]>) -> Self {
        self.0.push(id);
        self.0.extend(sized(content));
        self
    }

    /// Appends bytes unchanged.
    #[must_use]
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend(bytes.as_ref());
        self
    }

    /// The module's bytes so far.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Default for Module {
    fn default() -> Self {
        Self::new()
    }
}

/// The parts of a filter that accepts, beside its filter function.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Types, from index 1 on. Type 0 is the filter function's.
    pub types: Vec<Vec<u8>>,
    /// Functions, from index 1 on: the type, and the body with its locals but without its length.
    pub functions: Vec<(u32, Vec<u8>)>,
    /// Elements of the table. 0 is no table.
    pub table: u32,
    /// Whether there is an exported memory of one page.
    pub memory: bool,
    /// Content of the element section.
    pub elements: Option<Vec<u8>>,
    /// The filter function's body, in place of the default.
    pub body: Option<Vec<u8>>,
}

impl Parts {
    /// Makes the module. The filter function can reach all functions without parameters and
    /// results, so that they are compiled, but no packet makes it call them.
    pub fn filter(&self) -> Vec<u8> {
        let types: Vec<&[u8]> = std::iter::once(&FILTER_TYPE[..])
            .chain(self.types.iter().map(Vec::as_slice))
            .collect();
        let indices: Vec<Vec<u8>> = std::iter::once(leb(0))
            .chain(self.functions.iter().map(|(ty, _)| leb(*ty)))
            .collect();
        let bodies: Vec<Vec<u8>> = std::iter::once(sized(self.accept()))
            .chain(self.functions.iter().map(|(_, body)| sized(body)))
            .collect();
        let mut module = Module::new()
            .section(id::TYPE, vector(&types))
            .section(id::FUNCTION, vector(&indices));
        let mut exports = vec![export("nfw_filter", 0, 0)];
        if self.table > 0 {
            let table = [&[1, 0x70, 0][..], &leb(self.table)].concat();
            module = module.section(id::TABLE, table);
        }
        if self.memory {
            module = module.section(id::MEMORY, [1, 0, 1]);
            exports.push(export("memory", 2, 0));
        }
        module = module.section(id::EXPORT, vector(&exports));
        if let Some(elements) = &self.elements {
            module = module.section(id::ELEMENT, elements);
        }
        module.section(id::CODE, vector(&bodies)).bytes()
    }

    /// The default body of the filter function.
    fn accept(&self) -> Vec<u8> {
        if let Some(body) = &self.body {
            return body.clone();
        }
        let nothing = function_type(&[], &[]);
        let is_called = |ty: u32| ty > 0 && self.types.get(ty as usize - 1) == Some(&nothing);
        let calls = (1..)
            .zip(&self.functions)
            .filter(|(_, (ty, _))| is_called(*ty))
            .flat_map(|(index, _)| [&[0x10][..], &leb(index)].concat());
        // Call the functions if the window has 2^32-1 bytes.
        let mut body = vec![0, 0x20, 2, 0x41, 0x7f, 0x46, 0x04, 0x40];
        body.extend(calls);
        body.extend([0x0b, 0x41, 1, 0x0b]);
        body
    }
}

/// An entry of the export section.
pub fn export(name: &str, kind: u8, index: u32) -> Vec<u8> {
    let mut bytes = sized(name);
    bytes.push(kind);
    bytes.extend(leb(index));
    bytes
}

/// A function type of `params` and `results`, in the specification's bytes (`0x7f` is `i32`).
pub fn function_type(params: &[u8], results: &[u8]) -> Vec<u8> {
    [vec![0x60], sized(params), sized(results)].concat()
}
