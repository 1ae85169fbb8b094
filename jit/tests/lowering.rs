// SPDX-License-Identifier: GPL-2.0-only
//! Writes `docs/lowering.md`, which shows the instructions of each Wasm operator. The test fails if
//! the page is not up to date. This updates it:
//!
//! ```text
//! NF_WASM_WRITE=1 cargo xtask test host the_table_of_lowering
//! ```

#[path = "common/text.rs"]
mod text;

use std::fmt::Write;
use std::path::Path;

use nf_wasm_jit::{compile, Environment, HostFunction, Insn, Results};

/// The module sets a global to these constants before and after an operator. They mark its
/// instructions.
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
            ("bytes reversed by shifts", "(local.set $x (i32.or (i32.or (i32.shl (local.get $a) (i32.const 24)) (i32.shl (i32.and (local.get $a) (i32.const 65280)) (i32.const 8))) (i32.or (i32.and (i32.shr_u (local.get $a) (i32.const 8)) (i32.const 65280)) (i32.shr_u (local.get $a) (i32.const 24)))))"),
            ("i32.eqz", "(local.set $x (i32.eqz (local.get $a)))"),
            ("i64.lt_s", "(local.set $x (i64.lt_s (local.get $c) (local.get $d)))"),
            ("select", "(local.set $x (select (local.get $a) (local.get $b) (local.get $x)))"),
        ],
    ),
    (
        "Memory and globals",
        &[
            ("i32.load", "(local.set $x (i32.load (local.get $a)))"),
            ("i32.load, then one at offset=8", "(drop (i32.load (local.get $a))) (local.set $x (i32.load offset=8 (local.get $a)))"),
            ("i32.load of a constant address", "(local.set $x (i32.load (i32.const 1024)))"),
            ("i32.load8_s", "(local.set $x (i32.load8_s (local.get $a)))"),
            ("i64.load, indexed by a byte", "(local.set $y (i64.load offset=256 (i32.shl (i32.load8_u (i32.const 9)) (i32.const 3))))"),
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
            ("unreachable, in an if", "(if (local.get $a) (then (unreachable)))"),
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
# How Wasm's operators are compiled

The left column shows a Wasm operator. The right column shows the eBPF instructions that `jit/`
compiles it to, in the notation of the kernel's verifier. `trap KIND` is a jump to the code that
ends the run with that trap, and `call NAME` calls a helper. `w2` is the lower half of `r2`; writing
it clears the upper half. r7 is the address of the linear memory, r8 is the fuel, and r9 is the
address of the frame. r0 and r1 are scratch registers. r10 is the kernel's stack: the words at -8
and -16 hold the addresses of the `Machine` and of the globals. Variables are in r2 to r6
(`jit/src/back/mod.rs`).

In these examples the memory has one page, and operands and results are in registers. The
table shows one example of each kind. Other widths, comparisons and sizes of access are compiled in
the same way.
";

const TAIL: &str = "
## Accesses to memory

An access to `n` bytes at `base + offset` needs `offset + n` bytes, counted from the base. This
number is the *extent* of the access. The access becomes up to three operations of
`jit/src/ir/op.rs`.

* **`Check`** traps if part of the extent is outside linear memory. If the base is constant, the
  compiler checks it at compile time. If the computation of the base bounds its value on all paths,
  and the bound is small enough, there is no check.
* **`Address`** computes the native address for loads and stores. It never traps. While the check
  before it is mispredicted, its *mask* keeps the address in linear memory. The mask determines for
  how many bytes from the base the address is valid:

  | mask | used for | instructions | valid for |
  |---|---|---|---|
  | `Constant` | a constant base | `r2 = r7` | all of the memory |
  | `Bound(most)` | a base that is not checked | `r2 += r7`; if the base comes from the frame, it is first masked to at most `most` | the memory's size minus `most` |
  | `Memory` | other bases, if the memory's size is a power of two | the base modulo that size: `w2 &= 65535`, `r2 += r7`. A larger part of the offset is added before | 4,096 bytes more than that part of the offset |
  | `Extent(e)` | other bases, if it is not | if fewer than `e` bytes follow the base, the base becomes 0: `w1 = w2`, `r1 -= last + 1` (`last` is the memory's size minus `e`), `r1 >>= 32`, `r2 &= r1`; then `r2 += r7` | `e` bytes |

* **`Load`** and **`Store`** add the lower part of the offset, which is less than 32,768 (with
  the mask `Memory` less than 4,096). The address already contains the rest.

**The guard.** An address with the mask `Memory` may be the last byte of the memory. While the check
is mispredicted, an access adds its offset to that. So a guard of zeros follows the memory, and has
as many bytes as the code's accesses can reach (`Code::guard`). Code reaches the guard in no other
case, because the check is exact.

**Raise.** A check shares one extent with the addresses that are masked for it. A wider access by
the same local raises that extent, and so changes all of them at once. The compiler does this only until the next store, assignment to a global, call, division (which may trap itself) or beginning of a block. A raised check would trap before that, although the wider access comes after it. So a wider access after it
gets a second check, with its own extent. Addresses that were computed before keep the first extent.

**Reuse.** An access reuses an address if the local is the same, if the part of the offset above
32,767 is the same, and if the address is valid for enough bytes. The compiler keeps one record for
each local: its extent, whether the extent can still be raised, and its addresses. It drops the
whole record when the local changes, where control flow merges, or when eight newer records exist
(`jit/src/front/known.rs`).

**Sums.** `p + 1` and `p + 2`, and locals that were assigned them, are sums of the local `p` and a
constant. An access by a sum uses the record of a base that is a sum of the same local, less than
4,096 bytes before it: that base is in linear memory, so the distance does not wrap around, and is
part of the offset. If a sum is bounded, the access uses the bound of its local.

**Packets in place.** `PacketAddress` combines check and address. It is raised and reused in the
same way, and can also be *lowered*, for an access before its base. Up to 8 bytes it is raised or
lowered from later blocks, too: bailing out too early is permitted. While its check is mispredicted,
the address is 0.

[threat-model.md](threat-model.md#speculation) explains what masks protect against, and what they do
not.
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

/// The instructions of an operator: those between the two assignments to the global.
fn lowered(body: &str) -> Vec<String> {
    let environment = Environment {
        memory_bytes: 65_536,
        memory_grows: false,
        table: &[Some(2), None],
        frame_slots: &[10; 8],
        imports: &[HostFunction {
            number: 0,
            fuel: 10,
            may_trap: false,
        }],
        fuel: None,
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
