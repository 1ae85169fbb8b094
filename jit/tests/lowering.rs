// SPDX-License-Identifier: GPL-2.0-only
//! What each of Wasm's operators becomes, as a table to read: `docs/lowering.md` is written here, and the
//! test fails where it is not what it was.
//!
//! ```text
//! NF_WASM_WRITE=1 cargo xtask test host the_table_of_lowering
//! ```

#[path = "common/text.rs"]
mod text;

use std::fmt::Write;
use std::path::Path;

use nf_wasm_jit::{compile, Environment, Insn, Results};

/// Constants that a global is set to before and behind an operator, so that its instructions are found.
const BEFORE: i32 = 1_111_111;
const BEHIND: i32 = 2_222_222;

/// Locals: `$a` and `$b` have 32 bits, `$c` and `$d` 64; the result goes to `$x` or `$y`.
const SECTIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "Numbers",
        &[
            ("i32.add", "(local.set $x (i32.add (local.get $a) (local.get $b)))"),
            ("i64.add", "(local.set $y (i64.add (local.get $c) (local.get $d)))"),
            ("i32.sub", "(local.set $x (i32.sub (local.get $a) (local.get $b)))"),
            ("i32.mul, by a constant", "(local.set $x (i32.mul (local.get $a) (i32.const 10)))"),
            ("i64.and, with a large constant", "(local.set $y (i64.and (local.get $c) (i64.const 0x123456789abc)))"),
            ("i32.shl", "(local.set $x (i32.shl (local.get $a) (local.get $b)))"),
            ("i64.shr_s, by a constant", "(local.set $y (i64.shr_s (local.get $c) (i64.const 3)))"),
            ("i32.rotl", "(local.set $x (i32.rotl (local.get $a) (local.get $b)))"),
            ("i32.rotr, by a constant", "(local.set $x (i32.rotr (local.get $a) (i32.const 8)))"),
            ("i32.div_u", "(local.set $x (i32.div_u (local.get $a) (local.get $b)))"),
            ("i64.rem_u, by a constant", "(local.set $y (i64.rem_u (local.get $c) (i64.const 10)))"),
            ("i32.div_s", "(local.set $x (i32.div_s (local.get $a) (local.get $b)))"),
            ("i64.rem_s", "(local.set $y (i64.rem_s (local.get $c) (local.get $d)))"),
            ("i32.clz", "(local.set $x (i32.clz (local.get $a)))"),
            ("i64.popcnt", "(local.set $y (i64.popcnt (local.get $c)))"),
            ("i32.extend8_s", "(local.set $x (i32.extend8_s (local.get $a)))"),
            ("i64.extend_i32_s", "(local.set $y (i64.extend_i32_s (local.get $a)))"),
            ("i64.extend_i32_u", "(local.set $y (i64.extend_i32_u (local.get $a)))"),
            ("i32.wrap_i64", "(local.set $x (i32.wrap_i64 (local.get $c)))"),
            ("i32.eqz", "(local.set $x (i32.eqz (local.get $a)))"),
            ("i64.lt_s", "(local.set $x (i64.lt_s (local.get $c) (local.get $d)))"),
            ("select", "(local.set $x (select (local.get $a) (local.get $b) (local.get $x)))"),
        ],
    ),
    (
        "Memory and globals",
        &[
            ("i32.load", "(local.set $x (i32.load (local.get $a)))"),
            ("i32.load offset=8, behind it", "(drop (i32.load (local.get $a))) (local.set $x (i32.load offset=8 (local.get $a)))"),
            ("i32.load of a constant address", "(local.set $x (i32.load (i32.const 1024)))"),
            ("i32.load8_s", "(local.set $x (i32.load8_s (local.get $a)))"),
            ("i64.load, of a table by a byte", "(local.set $y (i64.load offset=256 (i32.shl (i32.load8_u (i32.const 9)) (i32.const 3))))"),
            ("i64.store", "(i64.store (local.get $a) (local.get $c))"),
            ("i32.store8, of a constant", "(i32.store8 (local.get $a) (i32.const 1))"),
            ("memory.fill", "(memory.fill (local.get $a) (local.get $b) (i32.const 64))"),
            ("memory.size, a constant", "(local.set $x (memory.size))"),
            ("memory.grow", "(local.set $x (memory.grow (local.get $a)))"),
            ("global.get", "(local.set $x (global.get $g))"),
            ("global.set", "(global.set $g (local.get $a))"),
        ],
    ),
    (
        "Control",
        &[
            ("unreachable, behind an if", "(if (local.get $a) (then (unreachable)))"),
            ("br_if, on a comparison", "(block (br_if 0 (i32.lt_u (local.get $a) (local.get $b))) (local.set $x (i32.const 1)))"),
            ("loop", "(loop (local.set $a (i32.sub (local.get $a) (i32.const 1))) (br_if 0 (local.get $a)))"),
            ("br_table", "(block (block (block (br_table 0 1 2 1 (local.get $a))) (local.set $x (i32.const 1))) (local.set $x (i32.const 2)))"),
            ("call", "(local.set $x (call $same (local.get $a)))"),
            ("call of an import", "(local.set $x (call $import (local.get $a)))"),
            ("call_indirect", "(local.set $x (call_indirect (type $t) (local.get $a) (local.get $b)))"),
        ],
    ),
];

const HEAD: &str = "<!-- SPDX-License-Identifier: GPL-2.0-only -->
<!-- Written by jit/tests/lowering.rs. -->
# What Wasm's operators become

On the left an operator of Wasm's, on the right the eBPF instructions that `jit/` makes of it, in the
notation of the kernel's verifier: `w2` is the lower half of `r2`, with zeros above. r7 is the linear memory,
r8 the fuel, r9 the frame; r0 and r1 are for a moment; variables are in r2 to r6 (`jit/src/back/mod.rs`).
The memory has one page. `$a`, `$b` and their results are in registers here. What is not listed is like what
is: each width, each comparison, each size of access.
";

const TAIL: &str = "
## Accesses to memory

An access to `n` bytes at `base + offset` needs `offset + n` bytes from the base on: its *extent*. It becomes
up to three operations of `jit/src/ir/op.rs`.

* **`Check`** traps if the extent is not all in linear memory. A base that is a constant is checked when the
  function is compiled. A base that is small enough by how it was computed, whichever branches led there, is
  not checked.
* **`Address`** computes the native address that loads and stores start from. It never traps. Its *mask* says
  what keeps it in linear memory while the check before it is mispredicted, and so for how many bytes from
  the base on it is good:

  | mask | of | instructions | good for |
  |---|---|---|---|
  | `Constant` | a base that is a constant | `r2 = r7` | all of the memory |
  | `Bound(most)` | a base that is not checked | `r2 += r7`; if the base comes from the frame, it is masked to be `most` or less | the memory's size less `most` |
  | `Extent(e)` | other bases | the base becomes 0 if less than `e` bytes follow it: `w1 = w2`, `r1 -= last + 1`, `r1 >>= 32`, `r2 &= r1`; then `r2 += r7` | `e` bytes |

* **`Load`** and **`Store`** add what is left of the offset, less than 32,768. What is above that is in the
  address.

**Raise.** A check and the addresses that are masked for it have one extent in common. A wider access by the
same local raises it, with one write for all of them, as long as nothing has happened since the check that
could be seen after a trap: a store, an assignment to a global, a call, a division, a new block. After
that there is a second check, with an extent of its own; what was computed before keeps the first one.

**Reuse.** An address is used again for the same local and the same part of the offset above 32,767, if it is
good for as many bytes as the access needs. What is known of a local is one record: its extent, whether that
can still be raised, its addresses. The record goes as a whole: when the local changes, where ways meet, or
when eight others are newer (`jit/src/front/known.rs`).

**Packets in place.** `PacketAddress` is check and address in one, raised and used again in the same way. Where
its check is mispredicted, the address is that of the linear memory's first byte and not of the packet's:
the packet may have fewer bytes than the extent, linear memory has at least as many.

What masks are for, and what they are not, is in
[threat-model.md](threat-model.md#speculation).
";

fn module(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          (type $t (func (param i32) (result i32)))
          (import "nfw.mark" "set" (func $import (type $t)))
          (memory 1)
          (table 2 funcref)
          (global $g (mut i32) (i32.const 0))
          (global $mark (mut i32) (i32.const 0))
          (func (export "f") (param $a i32) (param $b i32) (param $c i64) (param $d i64) (result i32)
            (local $x i32) (local $y i64)
            (global.set $mark (i32.const {BEFORE}))
            {body}
            (global.set $mark (i32.const {BEHIND}))
            (i32.add (call $same (local.get $x)) (i32.wrap_i64 (local.get $y))))
          (func $same (type $t) (local.get 0)))"#
    );
    wat::parse_str(text).expect("a module")
}

/// The instructions of an operator: what stands between the two assignments to the global.
fn lowered(body: &str) -> Vec<String> {
    let environment = Environment {
        memory_bytes: 65_536,
        memory_grows: false,
        table: &[Some(2), None],
        frame_slots: &[10; 8],
        global_stride: 8,
        max_instructions: 1_000_000,
        parameters: &[],
        results: Results::Stay,
    };
    let code = compile(&module(body), "f", &environment).expect("code");
    let position = |constant| {
        let is_it = |insn: &Insn| insn.imm == constant;
        code.insns.iter().position(is_it).expect("the mark")
    };
    // The first ends with a store, the second begins with the globals' address.
    let range = position(BEFORE) + 2..position(BEHIND) - 1;
    text::show(&code.insns, range)
}

fn table() -> String {
    let mut table = HEAD.to_owned();
    for (title, operators) in SECTIONS {
        let _ = write!(table, "\n## {title}\n\n```text\n");
        for (name, body) in *operators {
            let lines = lowered(body);
            let _ = writeln!(
                table,
                "{name:<34}{}",
                lines.first().map_or("(nothing)", |it| it)
            );
            for line in lines.iter().skip(1) {
                let _ = writeln!(table, "{:34}{line}", "");
            }
        }
        table += "```\n";
    }
    table + TAIL
}

#[test]
fn the_table_of_lowering_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lowering.md");
    let table = table();
    if std::env::var_os("NF_WASM_WRITE").is_some() {
        std::fs::write(&path, &table).expect("docs/lowering.md");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == table,
        "docs/lowering.md is not up to date: NF_WASM_WRITE=1 cargo xtask test host the_table_of_lowering"
    );
}
