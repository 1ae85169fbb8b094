// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that the generated parts of headers and documentation are up to date.
//!
//! `cargo xtask generate` runs this test with `NF_WASM_WRITE` set. Then it writes the files
//! instead.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use nf_wasm_shared::abi::capability::{Capability, Function, Type, ALL};
use nf_wasm_shared::abi::hook::FAMILIES;
use nf_wasm_shared::abi::ioctl::IOCTLS;

/// Compares or replaces the text between the lines `begin` and `end` of `file`.
fn section(file: &str, (begin, end): (&str, &str), content: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let old = std::fs::read_to_string(&path).expect(file);
    let start = old.find(begin).expect(begin) + begin.len() + 1;
    let stop = start + old[start..].find(end).expect(end);
    let new = format!("{}{content}{}", &old[..start], &old[stop..]);
    if std::env::var_os("NF_WASM_WRITE").is_some() {
        std::fs::write(&path, new).expect(file);
    } else {
        assert_eq!(old, new, "{file}: run `cargo xtask generate`");
    }
}

/// Formats `text` as a C comment, in lines of at most `columns` bytes.
fn c_comment(text: &str, columns: usize) -> String {
    if text.len() + 6 <= columns {
        return format!("/* {text} */\n");
    }
    let mut comment = String::from("/*\n *");
    let mut column = 2;
    for word in text.split_whitespace() {
        if column + 1 + word.len() > columns {
            comment.push_str("\n *");
            column = 2;
        }
        write!(comment, " {word}").expect("to a String");
        column += 1 + word.len();
    }
    comment + "\n */\n"
}

fn c_parameters(function: &Function) -> String {
    let parameters: Vec<_> = function
        .parameters
        .iter()
        .map(|(name, ty)| match ty {
            Type::In => format!("const char *{name}"),
            Type::Out => format!("void *{name}"),
            _ => format!("{} {name}", c_number(*ty)),
        })
        .collect();
    match parameters.is_empty() {
        true => "void".to_owned(),
        false => parameters.join(", "),
    }
}

fn c_number(ty: Type) -> &'static str {
    match ty {
        Type::I32 => "int32_t",
        Type::U32 | Type::In | Type::Out => "uint32_t",
        Type::U64 => "uint64_t",
    }
}

/// The name without `nfw.`, with underscores instead of dots.
fn short_name(capability: &Capability) -> String {
    let name = capability.name.strip_prefix("nfw.");
    name.unwrap_or(capability.name).replace('.', "_")
}

const C_MARKS: (&str, &str) = (
    "/* begin capabilities: generated from shared/src/abi/capability.rs */",
    "/* end capabilities */",
);
const HOOK_MARKS: (&str, &str) = (
    "/* begin hooks: generated from shared/src/abi/hook.rs */",
    "/* end hooks */",
);
const MARKDOWN_MARKS: (&str, &str) = ("<!-- begin capabilities -->", "<!-- end capabilities -->");

/// Defines families and hooks. `inet` is only for attachments, not for packets.
fn hooks(family_prefix: &str, hook_prefix: &str, with_inet: bool) -> String {
    let mut text = String::new();
    for family in FAMILIES {
        if with_inet || family.name != "inet" {
            let name = family.name.to_uppercase();
            let _ = writeln!(
                text,
                "#define {family_prefix}{name} {} /* {} */",
                family.number, family.netfilter
            );
        }
    }
    let mut seen = BTreeSet::new();
    for hook in FAMILIES.iter().flat_map(|family| family.hooks) {
        if seen.insert(hook.name) {
            let name = hook.name.to_uppercase();
            let _ = writeln!(
                text,
                "#define {hook_prefix}{name} {} /* {} */",
                hook.number, hook.netfilter
            );
        }
    }
    text
}

#[test]
fn guest_header_is_generated() {
    let file = "sdk/c/nf_wasm_guest.h";
    section(file, HOOK_MARKS, &hooks("NFW_", "NFW_", false));
    let mut text = String::new();
    for capability in ALL {
        let _ = writeln!(
            text,
            "\n/* Capability {}: {}. */\n",
            capability.name, capability.summary
        );
        for function in capability.functions {
            let _ = write!(
                text,
                "{}NFW_IMPORT(\"{}\", \"{}\")\n{} nfw_{}_{}({});\n",
                c_comment(function.summary, 99),
                capability.name,
                function.name,
                c_number(function.result),
                short_name(capability),
                function.name,
                c_parameters(function)
            );
        }
    }
    section(file, C_MARKS, &(text + "\n"));
}

#[test]
fn ioctl_header_is_generated() {
    // This is one test, so that tests do not write the file concurrently.
    let file = "shared/include/nf_wasm.h";
    let mut ioctls = String::new();
    for (name, number, what) in IOCTLS {
        let _ = writeln!(
            ioctls,
            "{}#define {name} _IO(NF_WASM_TYPE, NF_WASM_BASE + {number})",
            c_comment(what, 80)
        );
    }
    let marks = (
        "/* begin ioctls: generated from shared/src/abi/ioctl.rs */",
        "/* end ioctls */",
    );
    section(file, marks, &ioctls);
    section(
        file,
        HOOK_MARKS,
        &hooks("NF_WASM_FAMILY_", "NF_WASM_HOOK_", true),
    );
    let mut text = String::new();
    for capability in ALL {
        let _ = writeln!(
            text,
            "#define NF_WASM_CAP_{} (1u << {}) /* {} */",
            short_name(capability).to_uppercase(),
            capability.bit.trailing_zeros(),
            capability.name
        );
    }
    section(file, C_MARKS, &text);
}

#[test]
fn documentation_lists_all_host_functions() {
    let mut text = String::new();
    for capability in ALL {
        let _ = writeln!(
            text,
            "\n### `{}`\n\nMay {}.\n\n| function | | fuel |\n|---|---|---|",
            capability.name, capability.summary
        );
        for function in capability.functions {
            let parameters: Vec<_> = function.parameters.iter().map(|(name, _)| *name).collect();
            let result = match function.result {
                Type::U64 => "i64",
                _ => "i32",
            };
            let _ = writeln!(
                text,
                "| `{}({}) -> {result}` | {} | {} |",
                function.name,
                parameters.join(", "),
                function.summary,
                function.fuel
            );
        }
    }
    section("docs/guest-interface.md", MARKDOWN_MARKS, &(text + "\n"));
}
