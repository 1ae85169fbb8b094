// SPDX-License-Identifier: GPL-2.0-only
//! Compiled code accesses only memory that it may access, whichever branch is mispredicted.
//!
//! ```text
//! NF_WASM_SEED=7 NF_WASM_CASES=1000000 cargo xtask test host accesses_in_any_order
//! ```

mod common;

use common::vm::Speculation;
use common::Instance;
use nf_wasm_generate::cases;
use nf_wasm_generate::random::Random;
use nf_wasm_jit::{compile, compile_in_place, Buffer, Code, Environment, Results};

const PAGE: u32 = 1 << 16;

/// Sizes of the memory, in pages: a power of two has other masks.
const SIZES: [u32; 2] = [1, 3];

fn environment(pages: u32, parameters: &[Option<u32>]) -> Environment<'_> {
    Environment {
        memory_bytes: (pages * PAGE).into(),
        memory_grows: false,
        table: &[],
        frame_slots: &[40; 8],
        imports: &[],
        fuel: None,
        max_instructions: 1_000_000,
        parameters,
        results: Results::Stay,
    }
}

/// Compiles a function with the parameter `$a`.
fn code(body: &str, pages: u32) -> Code {
    let text = format!(
        "(module (memory {pages}) (global $g (mut i32) (i32.const 0))
           (func (export \"f\") (param $a i32) (param $b i32) (param i32) (result i32) (local $x i32)
             {body}))"
    );
    let wasm = wat::parse_str(text).expect("a module");
    compile(&wasm, "f", &environment(pages, &[])).expect("code")
}

/// Runs code with indices around the bounds, with variables in registers and in slots. Returns the
/// number of mispredicted branches.
fn run_on(code: &Code, pages: u32) -> u64 {
    let mut instance = Instance::of(code, pages as usize, &[0]);
    let bytes = pages * PAGE;
    instance.speculation = Some(Speculation::new(Random::new(1, 0)));
    let edges = [
        0, 1, 6_000, 20_000, 32_767, 32_768, 45_000, 59_535, 60_000, 65_535,
    ];
    let indices = edges
        .iter()
        .flat_map(|edge| [*edge, bytes - 1 - *edge, bytes + *edge]);
    for index in indices.chain([u32::MAX, u32::MAX - 20_000, 1 << 31]) {
        let mut memory = instance.memory().to_vec();
        for half in memory.chunks_exact_mut(2) {
            half.copy_from_slice(&(index as u16).to_le_bytes());
        }
        instance.set_memory(&memory);
        instance.call([index.into(), 7, 0], 1_000_000);
    }
    instance.speculation.expect("it was turned on").mistakes
}

/// As [`run_on`], with memories of all sizes.
fn run(body: &str) {
    let mistakes = SIZES.map(|pages| run_on(&code(body, pages), pages));
    assert!(mistakes.iter().sum::<u64>() > 0);
}

#[test]
fn an_address_without_a_mask_is_good_for_its_bound_only() {
    run("(local.set $x (i32.load16_u (i32.const 0)))
         (drop (i32.load8_u offset=32868 (local.get $x)))
         (drop (i32.load8_u (local.get $x)))
         (i32.load8_u offset=20000 (local.get $x))");
}

#[test]
fn a_check_that_is_raised_raises_no_address_without_a_mask() {
    run("(local.set $x (i32.load16_u (i32.const 0)))
         (drop (i32.load8_u (local.get $x)))
         (drop (i32.load8_u offset=32868 (local.get $x)))
         (drop (i32.load8_u offset=32969 (local.get $x)))
         (i32.load8_u offset=20000 (local.get $x))");
}

#[test]
fn what_is_forgotten_of_a_local_is_forgotten_with_its_addresses() {
    run(
        "(local $p1 i32) (local $p2 i32) (local $p3 i32) (local $p4 i32)
         (local $p5 i32) (local $p6 i32) (local $p7 i32) (local $p8 i32)
         (drop (i32.load8_u offset=5000 (local.get $a)))
         (drop (i32.load8_u (local.get $p1)))
         (drop (i32.load8_u (local.get $p2)))
         (drop (i32.load8_u (local.get $p3)))
         (drop (i32.load8_u (local.get $p4)))
         (drop (i32.load8_u (local.get $p5)))
         (drop (i32.load8_u (local.get $p6)))
         (drop (i32.load8_u (local.get $p7)))
         (global.set $g (i32.const 1))
         (drop (i32.load8_u offset=6000 (local.get $a)))
         (drop (i32.load8_u (local.get $p8)))
         (drop (i32.load8_u (local.get $a)))
         (i32.load8_u offset=20000 (local.get $a))",
    );
}

#[test]
fn a_packet_in_place_is_not_left_by_a_constant_offset() {
    let wasm = wat::parse_str(
        "(module (memory (export \"memory\") 1)
           (func (export \"f\") (param $ctx i32) (param $pkt i32) (param $len i32) (result i32)
             (i32.and (i32.const 1)
               (i32.load8_u offset=3000
                 (i32.add (local.get $pkt) (i32.load8_u offset=9 (local.get $pkt)))))))",
    )
    .expect("a module");
    let buffer = Buffer {
        context: 1_000,
        window: 1_048,
        snaplen: 4_096,
    };
    let parameters = [Some(buffer.context), Some(buffer.window), None];
    let code = compile_in_place(&wasm, "f", &environment(1, &parameters), buffer).expect("code");
    let mut instance = Instance::of(&code, 1, &[]);
    instance.speculation = Some(Speculation::new(Random::new(1, 0)));
    for (len, is_there) in [(20, false), (3_000, false), (3_009, false), (3_010, true)] {
        instance.packet = vec![9; len];
        let arguments = [buffer.context, buffer.window, len as u32].map(u64::from);
        let result = instance.call(arguments, 1_000).result;
        assert_eq!(result.is_ok(), is_there, "{len} bytes");
    }
    assert!(instance.speculation.expect("it was turned on").accesses > 0);
}

/// Locals of a generated function. The first three are parameters.
const LOCALS: u64 = 12;

/// Upper limits of indices that the compiler can derive.
const BOUNDS: [u64; 5] = [0xff, 0xfff, 0x3fff, 0x7fff, 0xffff];

/// An offset or an index, often at an edge.
fn edge(random: &mut Random, bytes: u64) -> u64 {
    let (near, anything) = (random.below(4), random.below(bytes));
    let far = (bytes - random.choose(&BOUNDS) + near).saturating_sub(2);
    random.choose(&[
        near,
        far,
        far,
        (1 << 15) - 2 + near,
        (1 << 12) - 2 + near,
        anything,
    ])
}

fn index(random: &mut Random) -> String {
    let local = random.below(LOCALS);
    let (at, bound) = (random.below(1_000), random.choose(&BOUNDS));
    match random.below(6) {
        0 => format!("(i32.load (i32.const {at}))"),
        1 => format!("(i32.load8_u (i32.const {at}))"),
        2 => format!("(i32.load16_u (i32.const {at}))"),
        3 => format!("(i32.div_u (local.get {local}) (i32.load8_u (i32.const {at})))"),
        _ => format!("(i32.and (local.get {local}) (i32.const {bound}))"),
    }
}

/// The sum of a local and a constant.
fn sum(random: &mut Random, local: u64, bytes: u64) -> String {
    let (small, edge) = (random.below(20) as i64 - 8, edge(random, bytes) as i64);
    let constant = random.choose(&[small, small, small, edge, -edge]);
    format!("(i32.add (local.get {local}) (i32.const {constant}))")
}

/// A statement: an access by a local, or something between accesses. Locals repeat often.
fn statement(random: &mut Random, bytes: u64, depth: u32) -> String {
    let (local, other) = (random.below(LOCALS), random.below(LOCALS));
    // One is used more often than the others.
    let local = random.choose(&[local, 0, 0]);
    let offset = edge(random, bytes);
    let access = random.choose(&["i32.load8_u", "i32.load8_u", "i32.load", "i64.load"]);
    match random.below(24) {
        0 => format!("(local.set {local} {})", index(random)),
        1 => "(global.set $g (i32.const 1))".into(),
        2 => format!("(i32.store8 offset={offset} (local.get {local}) (local.get {other}))"),
        3 if depth > 0 => {
            let body = (0..4).map(|_| statement(random, bytes, depth - 1));
            let body: String = body.collect();
            format!("(if (local.get {other}) (then {body}))")
        }
        4 => format!("(drop ({access} offset={offset} {}))", index(random)),
        5 => format!("(local.set {local} {})", sum(random, other, bytes)),
        6..=10 => {
            let small = random.below(20);
            let offset = random.choose(&[small, small, offset]);
            format!(
                "(drop ({access} offset={offset} {}))",
                sum(random, local, bytes)
            )
        }
        _ => format!("(drop ({access} offset={offset} (local.get {local})))"),
    }
}

fn case(seed: u64, number: u64) {
    let mut random = Random::new(seed, number);
    let pages = random.choose(&SIZES);
    let bytes = (pages * PAGE).into();
    let first = index(&mut random);
    let statements = 10 + random.below(30);
    let body: String = (0..statements)
        .map(|_| statement(&mut random, bytes, 2))
        .collect();
    let locals = "(local i32 i32 i32 i32 i32 i32 i32 i32)";
    let body = format!("{locals} (local.set 0 {first}) {body} (i32.const 1)");
    let mut instance = Instance::of(&code(&body, pages), pages as usize, &[0]);
    instance.speculation = Some(Speculation::new(random.clone()));
    for _ in 0..4 {
        let word = random.choose(&[0, u64::MAX, random.clone().next()]);
        let memory = word.to_le_bytes().repeat(bytes as usize / 8);
        instance.set_memory(&memory);
        let mut argument =
            || random.choose(&[u64::from(u32::MAX), edge(&mut random.clone(), bytes)]);
        instance.call([argument(), argument(), argument()], 1_000_000);
    }
}

#[test]
fn accesses_in_any_order_stay_inside() {
    cases::each(case);
}

/// Checks the tests themselves: they fail on code without its masks.
#[test]
#[should_panic(expected = "on a mispredicted branch")]
fn the_machine_finds_an_index_without_a_mask() {
    let mut code = code("(i32.load (local.get $a))", 3);
    let mask = code.insns.iter_mut().find(|insn| insn.code == 0x5f);
    // `r2 &= r1` becomes `r2 = r2`.
    let mask = mask.expect("an `and` of two registers");
    mask.code = 0xbf;
    mask.registers = (mask.registers & 15) | ((mask.registers & 15) << 4);
    run_on(&code, 3);
}

#[test]
#[should_panic(expected = "on a mispredicted branch")]
fn the_machine_finds_an_index_without_a_mask_of_ones() {
    let mut code = code("(i32.load (local.get $a))", 1);
    let mask = code.insns.iter_mut().find(|insn| insn.code == 0x54);
    // `w2 &= 65535` becomes `w2 &= -1`.
    mask.expect("an `and` with a constant").imm = -1;
    run_on(&code, 1);
}

#[test]
#[should_panic(expected = "on a mispredicted branch")]
fn the_machine_finds_an_access_behind_the_guard() {
    let mut code = code("(i32.load offset=4000 (local.get $a))", 1);
    assert_eq!(code.guard, 4_003);
    code.guard -= 1;
    run_on(&code, 1);
}

#[test]
fn a_wrong_way_leaves_nothing_behind() {
    let mut instance = Instance::of(
        &code(
            "(if (i32.eq (local.get $a) (i32.const 1))
               (then (i32.store (i32.const 8) (i32.const 1)) (global.set $g (i32.const 1))))
             (i32.store (local.get $a) (i32.const 7))
             (i32.load (i32.const 8))",
            1,
        ),
        1,
        &[0],
    );
    let speculation = Speculation::new(Random::new(1, 0));
    instance.speculation = Some(speculation);
    let mut results = Vec::new();
    for at in 0..1_000 {
        // The store traps. On the wrong path the mask makes it go to address 0, and it is undone.
        let outcome = instance.call([u64::from(PAGE) + at, 0, 0], 1_000);
        results.push(outcome.result);
    }
    let speculation = instance.speculation.take().expect("it was turned on");
    assert!(speculation.mistakes > 1_000 && speculation.accesses > 1_000);
    assert!(results.iter().all(|it| *it == Err(1)));
    assert!(instance.memory().iter().all(|byte| *byte == 0) && instance.global(0) == 0);
}
