// SPDX-License-Identifier: GPL-2.0-only
//! Compares filters in both tiers: verdict, trap, fuel and the calls of the host are the same. For
//! half of the filters, branches are mispredicted.
//!
//! ```text
//! NF_WASM_SEED=7 NF_WASM_CASES=100000 cargo xtask test host compiled_filters
//! ```

#[path = "../../jit/tests/common/vm.rs"]
mod vm;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_void;

use nf_wasm_engine::{helper_addresses, Options, Outcome, Snapshot};
use nf_wasm_generate::case::{Case, Filters};
use nf_wasm_generate::cases;
use nf_wasm_generate::random::Random;
use nf_wasm_generate::Unstructured;
use nf_wasm_jit::machine::bpf_insn;
use nf_wasm_jit::{Code, Machine};
use nf_wasm_shared::abi::guest::Context;
use nf_wasm_test_host::{NativeInstance, Packet};
use vm::Speculation;

thread_local! {
    /// The compiled code of the running instance, and the number of its globals.
    static CODE: RefCell<Option<(Code, usize)>> = const { RefCell::new(None) };
    /// The simulation of mispredicted branches, if it is on.
    static SPECULATION: RefCell<Option<Speculation>> = const { RefCell::new(None) };
}

/// Stands in for native code: runs the instructions in the eBPF machine.
unsafe extern "C" fn run(machine: *const c_void, _: *const bpf_insn) -> u32 {
    CODE.with_borrow(|code| {
        let (code, globals) = code.as_ref().expect("code");
        let range = |start: u64, bytes: usize| start..start + bytes as u64;
        let (globals, start) = (8 * globals, machine as u64);
        let frames = size_of::<Machine>() + code.slots as usize * 8;
        // SAFETY: The argument is the machine of the running instance, and nobody writes to it
        // while the reference lives.
        let memory = unsafe { &*machine.cast::<Machine>() };
        let bounds = [
            range(start - globals as u64, globals + frames),
            range(memory.memory as u64, memory.memory_bytes),
        ];
        let helper = |number: i32| {
            let address = helper_addresses::<Packet>()[number as usize];
            // SAFETY: All helpers take at most five arguments, in registers, and return one value.
            unsafe { std::mem::transmute::<*const c_void, vm::Helper>(address) }
        };
        SPECULATION.with_borrow_mut(|speculation| {
            let speculation = speculation.as_mut();
            vm::run(&code.insns, machine as u64, &bounds, helper, speculation).0
        })
    }) as u32
}

fn start(case: &Case) -> Option<Box<Snapshot<Packet>>> {
    let options = Options {
        capabilities: case.capabilities,
        snaplen: case.snaplen,
        memory_pages: 8,
        init_fuel: 50_000,
    };
    Snapshot::new(&case.wasm, &options, Packet::none()).ok()
}

fn context(case: &Case, packet: &[u8]) -> Context {
    Context {
        hook: case.hook,
        family: case.family,
        packet_len: packet.len() as u32,
        mark: case.mark,
        ..Context::default()
    }
}

/// Makes an instance of compiled code, or says why there is none.
fn compile(
    snapshot: &mut Snapshot<Packet>,
    wasm: &[u8],
    fuel: u64,
) -> Result<NativeInstance, String> {
    let compiled = snapshot
        .compile(wasm, fuel as u32)
        .map_err(|why| why.to_string())?;
    CODE.set(Some((compiled.code.clone(), compiled.globals.len())));
    // SAFETY: `run` runs this code.
    Ok(unsafe { NativeInstance::new(&compiled, snapshot, run) })
}

/// Runs a case in both tiers. Returns a summary of the outcome.
fn both(seed: u64, number: u64) -> String {
    let bytes = Random::new(seed, number).bytes(4_096);
    let mut u = Unstructured::new(&bytes);
    let Ok(case) = Case::new(&mut u, Filters::Any, false) else {
        return "no case".into();
    };
    let Some(mut snapshot) = start(&case) else {
        return "no module".into();
    };
    let mut compiled = match compile(&mut snapshot, &case.wasm, case.fuel) {
        Ok(compiled) => compiled,
        Err(why) => return why,
    };
    let host = snapshot.host_mut().clone();
    let mut interpreted = snapshot.instance(host).expect("an instance");
    SPECULATION.set((number % 2 == 1).then(|| Speculation::new(Random::new(seed, !number))));
    let mut outcomes = Vec::new();
    let mut fresh = Vec::new();
    for packet in &case.packets {
        let context = context(&case, packet);
        for host in [interpreted.host_mut(), compiled.host_mut()] {
            host.show(packet.clone(), case.mark);
        }
        let expected = interpreted.call(&mut context.clone(), case.fuel);
        assert_eq!(compiled.call(&context, case.fuel), expected);
        let (one, other) = (compiled.host_mut(), interpreted.host_mut());
        // In a compiled filter, only the bytes that it can read are copied, so the cost differs.
        one.charged = other.charged;
        assert_eq!(one, other);
        outcomes.push(expected.verdict.is_ok());
        fresh.push((expected, interpreted.host_mut().mark));
    }
    // A restored instance does as a new one.
    interpreted.restore(&snapshot);
    for (packet, expected) in case.packets.iter().zip(fresh) {
        interpreted.host_mut().show(packet.clone(), case.mark);
        let outcome = interpreted.call(&mut context(&case, packet), case.fuel);
        assert_eq!((outcome, interpreted.host_mut().mark), expected);
    }
    if outcomes.contains(&true) {
        "verdicts"
    } else {
        "traps"
    }
    .into()
}

#[test]
fn compiled_filters_do_as_interpreted_ones() {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let (mut mistakes, mut accesses) = (0, 0);
    let cases = cases::each(|seed, at| {
        *counts.entry(both(seed, at)).or_default() += 1;
        if let Some(speculation) = SPECULATION.take() {
            mistakes += speculation.mistakes;
            accesses += speculation.accesses;
        }
    });
    eprintln!("{counts:#?}, {accesses} accesses after {mistakes} mispredicted branches");
    assert!(counts.contains_key("verdicts") && (cases < 100 || accesses > 0));
}

/// Runs a module in both tiers on a packet, with ample fuel.
fn outcome_of_both(wasm: &[u8]) -> Outcome {
    let options = Options {
        capabilities: nf_wasm_shared::abi::capability::ALL_BITS,
        snaplen: 64,
        memory_pages: 8,
        init_fuel: 50_000,
    };
    let mut snapshot = Snapshot::new(wasm, &options, Packet::none()).expect("a snapshot");
    let mut compiled = compile(&mut snapshot, wasm, 1_000_000).expect("code");
    let mut interpreted = snapshot.instance(Packet::none()).expect("an instance");
    SPECULATION.set(None);
    for host in [interpreted.host_mut(), compiled.host_mut()] {
        host.show(vec![0x5a; 40], 0);
    }
    let context = Context {
        packet_len: 40,
        ..Context::default()
    };
    let outcome = interpreted.call(&mut context.clone(), 1_000_000);
    assert_eq!(compiled.call(&context, 1_000_000), outcome);
    outcome
}

#[test]
fn a_host_function_needs_room_on_the_stack() {
    use nf_wasm_shared::abi::limits::VALUE_STACK_SLOTS;
    use nf_wasm_shared::abi::trap::Trap;
    // Host functions with no, two and three parameters, each with a result.
    for (import, parameters) in [
        (
            r#"(import "nfw.packet" "len" (func $host (result i32)))"#,
            0,
        ),
        (
            r#"(import "nfw.log" "write" (func $host (param i32 i32) (result i32)))"#,
            2,
        ),
        (
            r#"(import "nfw.packet" "load" (func $host (param i32 i32 i32) (result i32)))"#,
            3,
        ),
    ] {
        let arguments = "(i32.const 0) ".repeat(parameters);
        let locals = |count: u32| "i64 ".repeat(count as usize);
        // One chain whose depth the call graph shows, and one whose depth depends on the run.
        let chain = |at: u32| {
            let all = (0..9).map(|level| {
                let (count, next) = match level {
                    8 => (at, format!("(drop (call $host {arguments}))")),
                    _ => (1_000, format!("(call $f{})", level + 1)),
                };
                format!("(func $f{level} (local {}) {next})", locals(count))
            });
            (all.collect::<String>(), "(call $f0)")
        };
        let recursion = |at: u32| {
            let text = format!(
                "(func $down (param $left i32) (local {})
                   (if (local.get $left)
                     (then (call $down (i32.sub (local.get $left) (i32.const 1))))
                     (else (drop (call $host {arguments})))))
                 (func $first (local {}) (call $down (i32.const 8)))",
                locals(860),
                locals(at)
            );
            (text, "(call $first)")
        };
        for shape in [&chain as &dyn Fn(u32) -> (String, &'static str), &recursion] {
            let run = |at: u32| {
                let (functions, call) = shape(at);
                let wasm = wat::parse_str(format!(
                    r#"(module {import} (memory (export "memory") 1) {functions}
                         (func (export "nfw_filter") (param i32 i32 i32) (result i32)
                           {call} (i32.const 1)))"#
                ));
                outcome_of_both(&wasm.expect("a module")).verdict
            };
            // Find the smallest number that overflows by bisection. Its neighbours show that both
            // tiers agree to the slot.
            let (mut fits, mut overflows) = (0, 1_020);
            while overflows - fits > 1 {
                let middle = (fits + overflows) / 2;
                match run(middle) {
                    Ok(_) => fits = middle,
                    Err(_) => overflows = middle,
                }
            }
            assert!(fits > 0 && overflows < VALUE_STACK_SLOTS, "{import}");
            for at in fits.saturating_sub(5)..fits + 6 {
                let expected = match at <= fits {
                    true => Ok(1),
                    false => Err(Trap::StackOverflow),
                };
                assert_eq!(run(at), expected, "{import} {at}");
            }
        }
    }
}
