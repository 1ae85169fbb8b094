// SPDX-License-Identifier: GPL-2.0-only
//! Modules that declare more than they contain. Each must be refused before memory is allocated for
//! the declared size.

use nf_wasm_shared::abi::limits;

use crate::bytes::{export, id, leb, long_leb, sized, vector, Module, Parts, HUGE};
use crate::{loaded, refused, with, Case, EFBIG, ENOEXEC, EOPNOTSUPP};

/// Ten items of a section that claims 2^32-1.
fn bomb(section: u8, item: &[u8]) -> Vec<u8> {
    Module::new()
        .section(section, [&HUGE[..], &item.repeat(10)].concat())
        .bytes()
}

/// A filter and a function with that body.
fn body(bytes: &[u8]) -> Vec<u8> {
    Parts {
        functions: vec![(0, bytes.to_vec())],
        ..Parts::default()
    }
    .filter()
}

/// Nested blocks of a kind.
fn nested(opcode: &[u8], depth: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(opcode.repeat(depth));
    bytes.extend([0x0b].repeat(depth));
    bytes.extend([0x41, 1, 0x0b]);
    body(&bytes)
}

/// A `br_table` in a function without further blocks.
fn br_table(declared: &[u8], targets: usize) -> Vec<u8> {
    // No locals; index 0; the table, default 0; end.
    let mut bytes = vec![0, 0x41, 1, 0x41, 0, 0x0e];
    bytes.extend(declared);
    bytes.resize(bytes.len() + targets, 0);
    bytes.extend([0, 0x0b]);
    body(&bytes)
}

/// A name of nearly a megabyte.
fn long_name() -> Vec<u8> {
    sized(vec![b'n'; 1_000_000])
}

/// The limit on the nesting of blocks, as `usize`.
const NESTING: usize = limits::NESTING as usize;

/// The cases.
pub const CASES: &[Case] = &[
    refused(
        "2^32-1 types",
        EFBIG,
        &["4294967295 function types"],
        || bomb(id::TYPE, &[0x60, 0, 0]),
    ),
    refused("2^32-1 imports", EFBIG, &["4294967295 imports"], || {
        bomb(id::IMPORT, &[1, b'm', 1, b'n', 0, 0])
    }),
    refused("2^32-1 functions", EFBIG, &["4294967295 functions"], || {
        bomb(id::FUNCTION, &[0])
    }),
    refused("2^32-1 tables", EFBIG, &["4294967295 tables"], || {
        bomb(id::TABLE, &[0x70, 0, 0])
    }),
    refused(
        "2^32-1 memories",
        EOPNOTSUPP,
        &["4294967295 memories"],
        || bomb(id::MEMORY, &[0, 0]),
    ),
    refused("2^32-1 tags", EOPNOTSUPP, &["exceptions"], || {
        bomb(id::TAG, &[0, 0])
    }),
    refused("2^32-1 globals", EFBIG, &["4294967295 globals"], || {
        bomb(id::GLOBAL, &[0x7f, 0, 0x41, 0, 0x0b])
    }),
    refused("2^32-1 exports", EFBIG, &["4294967295 exports"], || {
        bomb(id::EXPORT, &[1, b'e', 0, 0])
    }),
    refused(
        "2^32-1 element segments",
        EFBIG,
        &["element segments"],
        || bomb(id::ELEMENT, &[0, 0x41, 0, 0x0b, 0]),
    ),
    refused(
        "2^32-1 counted data segments",
        EFBIG,
        &["data segments"],
        || bomb(id::DATA_COUNT, &[]),
    ),
    refused("2^32-1 data segments", EFBIG, &["data segments"], || {
        bomb(id::DATA, &[0, 0x41, 0, 0x0b, 0])
    }),
    refused(
        "2^32-1 bodies",
        ENOEXEC,
        &["code section has non-zero count"],
        || bomb(id::CODE, &[2, 0, 0x0b]),
    ),
    refused(
        "2^32-1 parameters",
        EFBIG,
        &["function params size"],
        || {
            Module::new()
                .section(id::TYPE, [&[1, 0x60][..], &HUGE].concat())
                .bytes()
        },
    ),
    refused("2^32-1 results", EFBIG, &["function returns size"], || {
        Module::new()
            .section(id::TYPE, [&[1, 0x60, 0][..], &HUGE].concat())
            .bytes()
    }),
    refused("1,000 parameters", EFBIG, &["1000 parameters"], || {
        with(&format!("(func (param {}))", "i32 ".repeat(1000)))
    }),
    refused("1,000 results", EFBIG, &["1000 results"], || {
        with(&format!(
            "(func (result {}) unreachable)",
            "i64 ".repeat(1000)
        ))
    }),
    refused("300,000 types", EFBIG, &["function types"], || {
        Module::new()
            .section(id::TYPE, vector(&vec![[0x60, 0, 0]; 300_000]))
            .bytes()
    }),
    refused(
        "2^32-1 locals in six bytes",
        EFBIG,
        &["4294967298", "locals"],
        || body(&[&[1][..], &HUGE, &[0x7f, 0x41, 1, 0x0b]].concat()),
    ),
    refused("locals whose sum overflows", EFBIG, &["locals"], || {
        body(
            &[
                &[9][..],
                &[&HUGE[..], &[0x7e]].concat().repeat(9),
                &[0x41, 1, 0x0b],
            ]
            .concat(),
        )
    }),
    refused(
        "2^32-1 groups of locals",
        ENOEXEC,
        &["in function 1"],
        || body(&[&HUGE[..], &[0, 0x7f, 0x41, 1, 0x0b]].concat()),
    ),
    loaded("a thousand empty groups of locals", &[Ok(1)], || {
        body(&[&leb(1000)[..], &[0, 0x7f].repeat(1000), &[0x41, 1, 0x0b]].concat())
    }),
    refused("65,536 pages of memory", EFBIG, &["65536 pages"], || {
        with(r#"(memory (export "memory") 65536)"#)
    }),
    refused(
        "2^32-1 pages of memory",
        EFBIG,
        &["4294967295 pages"],
        || {
            Module::new()
                .section(id::MEMORY, [&[1, 0][..], &HUGE].concat())
                .bytes()
        },
    ),
    refused(
        "2^32-1 elements of a table",
        EFBIG,
        &["4294967295 elements"],
        || {
            Module::new()
                .section(id::TABLE, [&[1, 0x70, 0][..], &HUGE].concat())
                .bytes()
        },
    ),
    loaded("a table that may grow to 2^32-1", &[Ok(1)], || {
        with("(table 0 4294967295 funcref)")
    }),
    refused(
        "2^32-1 elements of a segment",
        ENOEXEC,
        &["offset 0x"],
        || {
            let elements = [&[1, 0, 0x41, 0, 0x0b][..], &HUGE, &[0; 9]].concat();
            Parts {
                table: 1,
                elements: Some(elements),
                ..Parts::default()
            }
            .filter()
        },
    ),
    refused(
        "a segment of 100,000 elements",
        EFBIG,
        &["elements of a segment"],
        || with(&format!("(func $f) (elem func {})", "$f ".repeat(100_000))),
    ),
    refused("2^32-1 bytes of data", ENOEXEC, &["offset 0x"], || {
        Module::new()
            .section(id::MEMORY, [1, 0, 1])
            .section(id::DATA, [&[1, 0, 0x41, 0, 0x0b][..], &HUGE, b"x"].concat())
            .bytes()
    }),
    refused("a section of 2^32-1 bytes", ENOEXEC, &["offset 0x"], || {
        Module::new().raw([id::TYPE]).raw(HUGE).raw([0]).bytes()
    }),
    refused("a body of 2^32-1 bytes", ENOEXEC, &["offset 0x"], || {
        Module::new()
            .section(id::TYPE, [1, 0x60, 0, 0])
            .section(id::FUNCTION, [1, 0])
            .section(id::CODE, [&[1][..], &HUGE, &[0, 0x0b]].concat())
            .bytes()
    }),
    refused(
        "a body of a megabyte",
        EFBIG,
        &["body of a function"],
        || body(&[&[0][..], &[0x01].repeat(1_000_000), &[0x41, 1, 0x0b]].concat()),
    ),
    refused(
        "a br_table of 2^32-1 targets",
        EFBIG,
        &["4294967295 targets"],
        || br_table(&HUGE, 9),
    ),
    refused(
        "a br_table of a million targets",
        EFBIG,
        &["body of a function"],
        || br_table(&leb(1_000_000), 1_000_000),
    ),
    refused(
        "a br_table of 100,000 targets",
        EFBIG,
        &["100000 targets"],
        || br_table(&leb(100_000), 100_000),
    ),
    refused(
        "100,000 nested blocks",
        EFBIG,
        &["body of a function"],
        || {
            // 0x40 is the type of a block without values.
            nested(&[0x02, 0x40], 100_000)
        },
    ),
    refused("40,000 nested blocks", EFBIG, &["nests"], || {
        nested(&[0x02, 0x40], 40_000)
    }),
    refused("40,000 nested loops", EFBIG, &["nests"], || {
        nested(&[0x03, 0x40], 40_000)
    }),
    refused("25,000 nested ifs", EFBIG, &["nests"], || {
        nested(&[0x41, 0, 0x04, 0x40], 25_000)
    }),
    refused(
        "nested blocks that nothing reaches",
        EFBIG,
        &["nests"],
        || nested(&[0x00, 0x02, 0x40], 30_000),
    ),
    loaded("blocks as deep as allowed", &[Ok(1)], || {
        nested(&[0x02, 0x40], NESTING)
    }),
    loaded("loops as deep as allowed", &[Ok(1)], || {
        nested(&[0x03, 0x40], NESTING)
    }),
    loaded("ifs as deep as allowed", &[Ok(1)], || {
        nested(&[0x41, 0, 0x04, 0x40], NESTING)
    }),
    refused(
        "an import's name of a megabyte",
        EFBIG,
        &["string size"],
        || {
            Module::new()
                .section(id::TYPE, [1, 0x60, 0, 0])
                .section(
                    id::IMPORT,
                    [&[1][..], &sized("nfw.mark"), &long_name(), &[0, 0]].concat(),
                )
                .bytes()
        },
    ),
    refused(
        "an import's module of a megabyte",
        EFBIG,
        &["string size"],
        || {
            Module::new()
                .section(id::TYPE, [1, 0x60, 0, 0])
                .section(
                    id::IMPORT,
                    [&[1][..], &long_name(), &sized("get"), &[0, 0]].concat(),
                )
                .bytes()
        },
    ),
    refused("a name of 2^32-1 bytes", EFBIG, &["string size"], || {
        Module::new()
            .section(id::IMPORT, [&[1][..], &HUGE, b"nfw"].concat())
            .bytes()
    }),
    refused(
        "an export's name of a megabyte",
        EFBIG,
        &["string size"],
        || {
            let name = "n".repeat(1_000_000);
            with(&format!(r#"(func (export "{name}"))"#))
        },
    ),
    refused(
        "a custom section's name of a megabyte",
        EFBIG,
        &["string size"],
        || Module::new().section(id::CUSTOM, long_name()).bytes(),
    ),
    loaded("a name section of a megabyte", &[Ok(1)], || {
        let content = [sized("name"), vec![0xff; 1_000_000]].concat();
        let custom = Module::new().section(id::CUSTOM, content).bytes();
        [with(""), custom[8..].to_vec()].concat()
    }),
    loaded("a quarter of a million custom sections", &[Ok(1)], || {
        let mut module = with("");
        while module.len() + 4 <= limits::MODULE_BYTES as usize {
            module.extend([id::CUSTOM, 2, 1, b'x']);
        }
        module
    }),
    loaded("numbers as long as they may be", &[Ok(1)], || {
        // The function section's size and count, in five bytes each.
        let content = [&long_leb(1)[..], &long_leb(0)].concat();
        let filter_type = [1, 0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f];
        Module::new()
            .section(id::TYPE, filter_type)
            .raw([id::FUNCTION])
            .raw(long_leb(content.len() as u32))
            .raw(content)
            .section(id::EXPORT, vector(&[export("nfw_filter", 0, 0)]))
            .section(id::CODE, [1, 8, 0, 0x41, 0x81, 0x80, 0x80, 0x80, 0, 0x0b])
            .bytes()
    }),
    refused("a number of six bytes", ENOEXEC, &["too long"], || {
        Module::new()
            .raw([id::TYPE, 0x81, 0x80, 0x80, 0x80, 0x80, 0, 0])
            .bytes()
    }),
    refused("a number over 2^32", ENOEXEC, &["too large"], || {
        Module::new()
            .raw([id::TYPE, 0xff, 0xff, 0xff, 0xff, 0x7f, 0])
            .bytes()
    }),
    refused(
        "an i64.const of eleven bytes",
        ENOEXEC,
        &["too long"],
        || body(&[&[0, 0x42][..], &[0x80; 10], &[0, 0x1a, 0x41, 1, 0x0b]].concat()),
    ),
    refused(
        "a module of a megabyte and a byte",
        EFBIG,
        &["1048577 bytes"],
        || {
            let mut module = with("");
            module.resize(limits::MODULE_BYTES as usize + 1, 0);
            module
        },
    ),
    refused("a start function", EOPNOTSUPP, &["start function"], || {
        with("(func $loop (loop (br 0))) (start $loop)")
    }),
];
