// SPDX-License-Identifier: GPL-2.0-only
//! Modules that are refused: checks the errno, the text, and that nothing changed.

use nf_wasm_shared::abi::capability::{ALL_BITS, LOG};
use nf_wasm_shared::abi::limits;
use nf_wasm_tests::device::Spec;
use nf_wasm_tests::net::{Namespace, Net};
use nf_wasm_tests::wasm::{self, wat};
use nix::errno::Errno;

crate::tests![
    bytes_that_are_no_module,
    truncated_modules,
    random_bytes,
    a_wrong_filter_export,
    wrong_imports,
    ungranted_capabilities,
    unsupported_proposals,
    over_the_limits,
    initialisation_that_fails,
];

/// Tries loads in a namespace, and checks that its filters do not change.
struct Refuser {
    net: Net,
    capabilities: u64,
}

impl Refuser {
    fn new() -> Self {
        let net = Net::pair();
        // A filter that a refusal could change.
        std::mem::forget(net.server.load(Spec::new("bystander", wasm::always(1))));
        Self {
            net,
            capabilities: ALL_BITS,
        }
    }

    fn namespace(&self) -> &Namespace {
        &self.net.server
    }

    #[track_caller]
    fn refuses(&self, what: &str, wasm: Vec<u8>, errno: Errno, words: &[&str]) {
        let before = self.namespace().filters();
        let spec = Spec::new("refused", wasm).allow(self.capabilities);
        let refused = match self.namespace().try_load(&spec) {
            Ok(_) => panic!("{what} was loaded"),
            Err(refused) => refused,
        };
        assert_eq!(refused.errno, errno, "{what}: {refused}");
        for word in words {
            assert!(
                refused.text.contains(word),
                "{what}: {word:?} is not in: {refused}"
            );
        }
        assert_eq!(self.namespace().filters(), before, "{what}");
        assert_eq!(self.namespace().attachments(), [], "{what}");
    }

    #[track_caller]
    fn refuses_text(&self, text: &str, errno: Errno, words: &[&str]) {
        self.refuses(text, wat(text), errno, words);
    }
}

const FILTER: &str =
    r#"(func (export "nfw_filter") (param i32 i32 i32) (result i32) (i32.const 1))"#;

fn with(fields: &str) -> String {
    format!("(module {fields} {FILTER})")
}

fn bytes_that_are_no_module() {
    let refuser = Refuser::new();
    let cases: [(&str, &[u8], Errno, &str); 5] = [
        ("nothing", b"", Errno::ENOEXEC, "empty"),
        (
            "an ELF file",
            b"\x7fELF\x02\x01\x01\0",
            Errno::ENOEXEC,
            "not a Wasm module",
        ),
        ("text", b"(module)", Errno::ENOEXEC, "text format"),
        ("version 2", b"\0asm\x02\0\0\0", Errno::ENOEXEC, "version"),
        (
            "a component",
            b"\0asm\x0d\0\x01\0",
            Errno::EOPNOTSUPP,
            "component",
        ),
    ];
    for (what, bytes, errno, word) in cases {
        refuser.refuses(what, bytes.to_vec(), errno, &[word]);
    }
    refuser.refuses_text("(component)", Errno::EOPNOTSUPP, &["component"]);
}

fn truncated_modules() {
    let refuser = Refuser::new();
    let whole = wasm::example("count-by-protocol.wasm");
    for len in (1..whole.len()).step_by(97) {
        let before = refuser.namespace().filters();
        let spec = Spec::new("cut", whole[..len].to_vec()).allow(LOG.bit);
        let refused = refuser.namespace().try_load(&spec);
        let refused = refused.expect_err("a module that is cut off");
        // A module that ends between two sections is well-formed, but lacks parts.
        let known = matches!(refused.errno, Errno::ENOEXEC | Errno::EINVAL);
        assert!(known, "{len} bytes: {refused}");
        assert!(!refused.text.is_empty(), "{len} bytes");
        assert_eq!(refuser.namespace().filters(), before, "{len} bytes");
    }
}

fn random_bytes() {
    let refuser = Refuser::new();
    let whole = wasm::example("block-telnet.wasm");
    // Xorshift: the same sequence in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..200 {
        let mut bytes = if round % 2 == 0 {
            let mut bytes = b"\0asm\x01\0\0\0".to_vec();
            bytes.extend((0..random() % 200).map(|_| random() as u8));
            bytes
        } else {
            whole.clone()
        };
        for _ in 0..1 + random() % 4 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        // Random bytes may load or be refused with a text. They must not crash the kernel.
        match refuser.namespace().try_load(&Spec::new("random", bytes)) {
            Ok(filter) => filter.unload(),
            Err(refused) => assert!(!refused.text.is_empty(), "{:?}", refused.errno),
        }
    }
    assert_eq!(refuser.namespace().filters().len(), 1);
}

fn a_wrong_filter_export() {
    let refuser = Refuser::new();
    for (text, word) in [
        ("(module)", "no export nfw_filter"),
        (
            r#"(module (memory (export "nfw_filter") 1))"#,
            "not a function",
        ),
        (
            r#"(module (func (export "nfw_filter") (param i32 i32) (result i32) (i32.const 1)))"#,
            "(i32, i32, i32) -> (i32)",
        ),
        (
            r#"(module (func (export "nfw_filter") (param i32 i32 i32)))"#,
            "(i32, i32, i32) -> (i32)",
        ),
        (
            r#"(module (func (export "nfw_filter") (param i32 i32 i32) (result i64) (i64.const 1)))"#,
            "(i32, i32, i32) -> (i64)",
        ),
    ] {
        refuser.refuses_text(text, Errno::EINVAL, &["nfw_filter", word]);
    }
    refuser.refuses_text(
        &with("(memory 1)"),
        Errno::EINVAL,
        &["memory", "not exported"],
    );
}

fn wrong_imports() {
    let refuser = Refuser::new();
    for (import, words) in [
        (r#"(import "env" "abort" (func))"#, ["env", "abort"]),
        (
            r#"(import "nfw.packet" "steal" (func))"#,
            ["steal", "nfw.packet"],
        ),
        (
            r#"(import "nfw.packet" "load" (func (param i32) (result i32)))"#,
            ["nfw.packet load", "(i32) -> (i32)"],
        ),
        (
            r#"(import "nfw.clock" "monotonic" (func (result i32)))"#,
            ["nfw.clock monotonic", "() -> (i64)"],
        ),
        (
            r#"(import "nfw.log" "write" (memory 1))"#,
            ["memory", "only functions"],
        ),
        (
            r#"(import "nfw.mark" "get" (global i32))"#,
            ["global", "only functions"],
        ),
    ] {
        refuser.refuses_text(&with(import), Errno::EINVAL, &words);
    }
}

fn ungranted_capabilities() {
    let mut refuser = Refuser::new();
    for (import, capability, bit) in [
        (
            r#"(import "nfw.packet" "len" (func (result i32)))"#,
            "nfw.packet",
            1,
        ),
        (
            r#"(import "nfw.log" "write" (func (param i32 i32) (result i32)))"#,
            "nfw.log",
            2,
        ),
        (
            r#"(import "nfw.clock" "realtime" (func (result i64)))"#,
            "nfw.clock",
            4,
        ),
        (
            r#"(import "nfw.mark" "get" (func (result i32)))"#,
            "nfw.mark",
            8,
        ),
    ] {
        let text = with(import);
        // The other capabilities do not help.
        refuser.capabilities = ALL_BITS & !bit;
        refuser.refuses_text(&text, Errno::EACCES, &[capability, "--allow"]);
        refuser.capabilities = bit;
        let spec = Spec::new("granted", wat(&text)).allow(bit);
        let filter = refuser.namespace().load(spec);
        assert_eq!(filter.entry().capabilities_used, bit);
    }
}

fn unsupported_proposals() {
    let refuser = Refuser::new();
    for (fields, word) in [
        (r#"(memory (export "memory") 1) (memory 1)"#, "memories"),
        (r#"(memory (export "memory") i64 1)"#, "memory64"),
        (r#"(memory (export "memory") 1 1 shared)"#, "threads"),
        ("(func (local v128))", "SIMD"),
        ("(func (drop (v128.const i32x4 1 2 3 4)))", "SIMD"),
        ("(func (param v128))", "SIMD"),
        ("(func $start) (start $start)", "start function"),
        (
            r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#,
            "WASI",
        ),
        (r#"(func (export "_start"))"#, "_start"),
        (
            "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
            "extended",
        ),
        ("(tag)", "exceptions"),
        ("(func $tail return_call $tail)", "tail call"),
    ] {
        refuser.refuses_text(&with(fields), Errno::EOPNOTSUPP, &[word]);
    }
}

fn over_the_limits() {
    let refuser = Refuser::new();
    let refuses = |fields: &str, words: &[&str]| {
        refuser.refuses_text(&with(fields), Errno::EFBIG, words);
    };
    refuses(r#"(memory (export "memory") 65)"#, &["pages", "64"]);
    refuses("(table 4097 funcref)", &["4097", "4096"]);
    refuses(
        &r#"(import "nfw.mark" "get" (func (result i32)))"#.repeat(limits::IMPORTS as usize + 1),
        &["imports", "64"],
    );
    let exports = (0..=limits::EXPORTS).map(|n| format!(r#"(func (export "f{n}"))"#));
    refuses(&exports.collect::<String>(), &["exports", "256"]);
    refuses(
        &"(func)".repeat(limits::FUNCTIONS as usize),
        &["functions", "4096"],
    );
    let name = "x".repeat(limits::NAME_BYTES as usize + 1);
    refuses(&format!(r#"(func (export "{name}"))"#), &["name", "256"]);
    refuses(
        &format!(
            r#"(memory (export "memory") 1) {}"#,
            r#"(data (i32.const 0) "x")"#.repeat(limits::DATA_SEGMENTS as usize + 1)
        ),
        &["data segments", "1024"],
    );
    let nesting = limits::NESTING as usize + 1;
    refuses(
        &format!(
            "(func {} {})",
            "(block ".repeat(nesting),
            ")".repeat(nesting)
        ),
        &["256"],
    );
    refuses(
        &format!(
            "(func (local {}))",
            "i32 ".repeat(limits::LOCALS as usize + 1)
        ),
        &["locals", "1024"],
    );
    let mut large = wat(&with(""));
    // Padding: a custom section.
    large.resize(limits::MODULE_BYTES as usize + 1, 0);
    refuser.refuses("a large module", large, Errno::EFBIG, &["1048576"]);
}

fn initialisation_that_fails() {
    let refuser = Refuser::new();
    let init = |body: &str| {
        with(&format!(
            r#"(func (export "nfw_init") (result i32) {body})"#
        ))
    };
    refuser.refuses_text(&init("(i32.const 5)"), Errno::EINVAL, &["nfw_init", "5"]);
    refuser.refuses_text(
        &init("(unreachable)"),
        Errno::EINVAL,
        &["nfw_init", "unreachable"],
    );
    refuser.refuses_text(
        &init("(loop $for (br $for)) (unreachable)"),
        Errno::EINVAL,
        &["nfw_init", "fuel"],
    );
    refuser.refuses_text(
        &with(
            r#"(memory (export "memory") 1)
               (func (export "nfw_buf") (param i32) (result i32) (i32.const 65530))"#,
        ),
        Errno::EINVAL,
        &["nfw_buf"],
    );
}
