// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares `include/nf_wasm.h` with the Rust ABI: offsets and sizes of fields, and constants.
//!
//! The test generates `_Static_assert`s from the Rust structs. The C compiler checks them against
//! the header. No field can be missing on either side: the Rust structs are destructured without
//! `..`, and have no padding, so a field that only C has would change an offset or a size. The test
//! reads the constants from the sources of both sides, and compares those of the same name.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

use nf_wasm_shared::abi::capability;
use nf_wasm_shared::abi::ioctl::*;
use nf_wasm_shared::abi::trap::Trap;

struct Field {
    name: &'static str,
    offset: usize,
    size: usize,
}

struct Struct {
    c_name: &'static str,
    size: usize,
    fields: Vec<Field>,
}

fn size_of_field<Of, Type>(_: fn(&Of) -> &Type) -> usize {
    size_of::<Type>()
}

macro_rules! structs {
    ($($rust:ident = $c_name:ident { $($field:ident),+ $(,)? })+) => {
        vec![$({
            // A field that is not listed here does not compile.
            let _ = |value: $rust| { let $rust { $($field: _),+ } = value; };
            Struct {
                c_name: stringify!($c_name),
                size: size_of::<$rust>(),
                fields: vec![$(Field {
                    name: stringify!($field),
                    offset: offset_of!($rust, $field),
                    size: size_of_field(|value: &$rust| &value.$field),
                }),+],
            }
        }),+]
    };
}

fn structs() -> Vec<Struct> {
    structs! {
        Log = nf_wasm_log { buf, len, used }
        Select = nf_wasm_select { size, id, name, flags, reserved, log }
        Info = nf_wasm_info {
            size, abi_version, guest_version, cpus, capabilities, version, built_for,
            max_module_bytes, max_functions, max_imports, max_exports, max_data_segments,
            max_table_elements, max_memory_pages, max_nesting, max_name_bytes, max_filters,
            max_attachments, max_snaplen, default_snaplen, default_quarantine, default_fuel,
            max_fuel, load_stack_peak, load_stack_size, packet_path_allocations, admission,
            allowed_digests, max_signature_bytes, reserved, max_hook_fuel,
        }
        Hook = nf_wasm_hook { family, hook, priority, reserved, device }
        Load = nf_wasm_load {
            size, flags, name, module, module_len, trap_policy, capabilities, fuel, snaplen,
            quarantine, hooks, hook_count, hook_size, id, recycle, log, signature, signature_len,
            tier,
        }
        Replace = nf_wasm_replace {
            size, id, name, flags, set, module, module_len, trap_policy, capabilities, fuel,
            snaplen, quarantine, log, signature, signature_len, tier, recycle, reserved,
        }
        Attach = nf_wasm_attach { size, id, name, flags, attachment, hook, log }
        Detach = nf_wasm_detach { size, flags, attachment, reserved, log }
        List = nf_wasm_list { size, flags, entries, entry_size, capacity, count, reserved }
        Counters = nf_wasm_counters {
            packets, bytes, accepted, dropped, quarantined, traps, fuel_total, fuel_min, fuel_max,
        }
        FilterEntry = nf_wasm_filter_entry {
            id, state, name, trap_policy, snaplen, quarantine, attachments, capabilities,
            capabilities_used, fuel, module_bytes, replaced, memory_per_cpu, counters,
            instances, origin, digest, tier, compiled, tier_reason, memory_shared, reloads,
            recycle, reserved,
        }
        AttachmentEntry = nf_wasm_attachment_entry {
            id, filter, hook, ifindex, reserved, counters,
        }
        Run = nf_wasm_run {
            size, id, name, module, module_len, snaplen, capabilities, fuel, packet, packet_len,
            flags, family, hook, mark, verdict, trap, reserved, fuel_used, output, log,
            signature, signature_len, tier,
        }
        GuestTest = nf_wasm_guest_test {
            size, operation, instance, name_len, name, module, module_len, flags, fuel, fuel_used,
            values, value_count, trap, offset, data, data_len, tier, log,
        }
    }
}

/// Constants of `ioctl.rs` by their Rust names.
fn ioctl_constants() -> Vec<(&'static str, u64)> {
    macro_rules! constants {
        ($($name:ident),+ $(,)?) => { vec![$((stringify!($name), $name as u64)),+] };
    }
    constants![
        TYPE,
        BASE,
        ABI_VERSION,
        TRAP_ACCEPT,
        TRAP_DROP,
        TRAP_RELOAD,
        QUARANTINE_NEVER,
        NAME_LEN,
        DEVICE_LEN,
        REPLACE_CAPABILITIES,
        REPLACE_FUEL,
        REPLACE_SNAPLEN,
        REPLACE_TRAP_POLICY,
        REPLACE_QUARANTINE,
        REPLACE_TIER,
        REPLACE_RECYCLE,
        TIER_AUTO,
        TIER_INTERP,
        TIER_JIT,
        TIER_REASON_LEN,
        STATE_ACTIVE,
        STATE_QUARANTINED,
        NO_TRAP,
        GUEST_TEST_INSTANTIATE,
        GUEST_TEST_REGISTER,
        GUEST_TEST_INVOKE,
        GUEST_TEST_GET,
        GUEST_TEST_SET,
        GUEST_TEST_READ,
        GUEST_TEST_VALUES,
        GUEST_TEST_NAME_LEN,
        GUEST_TEST_READ_BYTES,
        ADMISSION_SIGNATURE,
        ADMISSION_LOCKED_DOWN,
        ORIGIN_UNCHECKED,
        ORIGIN_SIGNATURE,
        ORIGIN_ALLOWLIST,
        DIGEST_LEN,
    ]
}

/// The C name of `abi-version` or `ABI_VERSION`, with a prefix.
fn c_name(prefix: &str, name: &str) -> String {
    let name = name.to_uppercase().replace('-', "_");
    if name.starts_with("NF_WASM_") {
        name
    } else {
        format!("{prefix}{name}")
    }
}

/// All constants by their C names.
fn constants() -> Vec<(String, u64)> {
    let ioctl = ioctl_constants()
        .into_iter()
        .map(|(name, value)| (c_name("NF_WASM_", name), value));
    let capabilities = capability::ALL.iter().map(|capability| {
        let name = capability.name.strip_prefix("nfw.").expect("the prefix");
        (c_name("NF_WASM_CAP_", name), capability.bit)
    });
    let traps = Trap::ALL
        .iter()
        .map(|trap| (c_name("NF_WASM_TRAP_KIND_", trap.name()), *trap as u64));
    let numbers = IOCTLS
        .iter()
        .map(|(name, number, _)| ((*name).to_owned(), u64::from((TYPE << 8) | (BASE + number))));
    let families = FAMILIES
        .iter()
        .map(|it| (c_name("NF_WASM_FAMILY_", it.name), it.number.into()));
    // Several families have the same hooks.
    let hooks: BTreeSet<_> = FAMILIES
        .iter()
        .flat_map(|family| family.hooks)
        .map(|it| (c_name("NF_WASM_HOOK_", it.name), it.number.into()))
        .collect();
    ioctl
        .chain(numbers)
        .chain(families)
        .chain(hooks)
        .chain(capabilities)
        .chain(traps)
        .chain([("NF_WASM_TRAP_KINDS".to_owned(), Trap::COUNT as u64)])
        .collect()
}

/// The words after `before`, at the beginning of lines of `text`.
fn names_after<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(before))
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
        })
        .collect()
}

#[test]
fn rust_structs_have_no_holes() {
    for of in structs() {
        let mut end = 0;
        for field in &of.fields {
            assert_eq!(
                field.offset, end,
                "hole before {}.{}",
                of.c_name, field.name
            );
            end += field.size;
        }
        assert_eq!(end, of.size, "hole at the end of {}", of.c_name);
    }
}

#[test]
fn no_name_is_missing() {
    let header = include_str!("../include/nf_wasm.h");
    let source = concat!(
        include_str!("../src/abi/ioctl.rs"),
        include_str!("../src/abi/guest_test.rs")
    );

    let listed: BTreeSet<_> = ioctl_constants()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let written = names_after(source, "pub const ");
    assert_eq!(listed, written, "ioctl.rs");

    let structs = structs();
    assert_eq!(
        structs.len(),
        names_after(source, "pub struct ").len(),
        "a struct of ioctl.rs is not compared"
    );
    let listed: BTreeSet<_> = structs.iter().map(|of| of.c_name).collect();
    assert_eq!(
        listed,
        names_after(header, "struct "),
        "structs of nf_wasm.h"
    );

    let constants = constants();
    let listed: BTreeSet<_> = constants.iter().map(|(name, _)| name.as_str()).collect();
    let mut defined = names_after(header, "#define ");
    assert!(defined.remove("_UAPI_NF_WASM_H"));
    assert_eq!(listed, defined, "constants of nf_wasm.h");
}

#[test]
fn every_field_is_explained() {
    let header = include_str!("../include/nf_wasm.h");
    for of in structs() {
        let start = header
            .find(&format!("/**\n * struct {} - ", of.c_name))
            .unwrap_or_else(|| panic!("struct {} has no comment", of.c_name));
        let comment = header[start..].split("*/").next().expect("split gives one");
        for field in of.fields {
            assert!(
                comment.contains(&format!("\n * @{}: ", field.name)),
                "{}.{} has no comment",
                of.c_name,
                field.name
            );
        }
    }
}

#[test]
fn c_agrees() {
    let mut source = String::from("#include <stddef.h>\n#include \"nf_wasm.h\"\n");
    let mut check = |condition: String| {
        writeln!(source, "_Static_assert({condition}, \"{condition}\");").expect("to a String");
    };
    for of in structs() {
        let name = of.c_name;
        check(format!("sizeof(struct {name}) == {}", of.size));
        for Field {
            name: field,
            offset,
            size,
        } in of.fields
        {
            check(format!("offsetof(struct {name}, {field}) == {offset}"));
            check(format!("sizeof(((struct {name} *)0)->{field}) == {size}"));
        }
    }
    for (name, value) in constants() {
        check(format!("{name} == {value}u"));
    }

    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = directory.join("nf_wasm_header.c");
    std::fs::write(&file, source).expect("the target directory can be written");
    let output = Command::new("cc")
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-pedantic",
            "-Werror",
            "-fsyntax-only",
        ])
        .arg("-I")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .arg(&file)
        .output()
        .expect("`cc`, which cargo links with too, can be run");
    assert!(
        output.status.success(),
        "the header differs from the Rust ABI:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
