// SPDX-License-Identifier: GPL-2.0-only
//! Compiled code beside the interpreter: result, trap, fuel, memory and globals are the same.
//!
//! ```text
//! NF_WASM_SEED=7 NF_WASM_CASES=1000000 cargo xtask test host compiled_modules
//! ```

mod common;

use std::panic::{catch_unwind, AssertUnwindSafe};

use common::Instance;
use nf_wasm_abi::limits;
use nf_wasm_abi::trap::Trap;
use nf_wasm_generate::arithmetic;
use nf_wasm_generate::random::Random;
use nf_wasm_generate::Unstructured;
use nf_wasm_jit::{compile, Environment, Results, Unsupported};
use wasmi::{
    CompilationMode, Config, Engine, Linker, Module, Store, StoreLimits, StoreLimitsBuilder,
    TrapCode,
};

const UNKNOWN_VERDICT: u32 = Trap::UnknownVerdict as u32;

/// Calls of each module.
const CALLS: u32 = 6;

struct Reference {
    store: Store<StoreLimits>,
    instance: wasmi::Instance,
}

impl Reference {
    fn new(wasm: &[u8]) -> Self {
        let mut config = Config::default();
        config
            .consume_fuel(true)
            .compilation_mode(CompilationMode::Eager)
            .set_max_stack_height(limits::VALUE_STACK_SLOTS as usize)
            .set_min_stack_height(limits::VALUE_STACK_SLOTS as usize)
            .set_max_recursion_depth(limits::CALL_DEPTH as usize);
        let engine = Engine::new(&config);
        let module = Module::new(&engine, wasm).expect("valid");
        let mut store = Store::new(&engine, StoreLimits::default());
        store.limiter(|limits| limits);
        let instance = Linker::new(&engine)
            .instantiate_and_start(&mut store, &module)
            .expect("an instance");
        // As filters have it: nothing grows while packets are decided.
        *store.data_mut() = StoreLimitsBuilder::new().memory_size(0).build();
        Self { store, instance }
    }

    fn call(&mut self, arguments: [u64; 3], fuel: i64) -> (Result<u64, u32>, i64) {
        self.store.set_fuel(fuel as u64).unwrap();
        let f = self
            .instance
            .get_typed_func::<(u32, u32, u32), u32>(&self.store, "f")
            .unwrap();
        let arguments = arguments.map(|it| it as u32);
        let result = f
            .call(&mut self.store, arguments.into())
            .map(u64::from)
            .map_err(|error| match error.as_trap_code() {
                Some(TrapCode::UnreachableCodeReached) => 0,
                Some(TrapCode::TableOutOfBounds) => 2,
                Some(TrapCode::IndirectCallToNull) => 3,
                Some(TrapCode::BadSignature) => 4,
                Some(TrapCode::IntegerDivisionByZero) => 5,
                Some(TrapCode::IntegerOverflow) => 6,
                Some(TrapCode::StackOverflow) => 8,
                Some(TrapCode::OutOfFuel) => 9,
                _ => 1,
            });
        (result, self.store.get_fuel().unwrap() as i64)
    }

    fn memory(&self) -> &[u8] {
        let memory = self.instance.get_memory(&self.store, "memory").unwrap();
        memory.data(&self.store)
    }
}

fn case(seed: u64, number: u64, stack: &mut [u32; 16]) {
    let mut random = Random::new(seed, number);
    let bytes = random.bytes(3_000);
    let mut u = Unstructured::new(&bytes);
    let Ok(wasm) = arithmetic::module(&mut u) else {
        return;
    };
    let mut reference = Reference::new(&wasm);
    let layout = reference.instance.layout(&mut reference.store).unwrap();
    let memory_bytes = reference.memory().len() as u64;
    // As filters are compiled: two parameters are known, and the result is a verdict.
    let is_filter = random.below(2) == 0;
    let mut argument = || match random.below(3) {
        0 => random.below(100),
        1 => random.below(0x2_0000),
        _ => random.next() & 0xffff_ffff,
    };
    let mut known = [Some(argument() as u32), Some(argument() as u32), None];
    if !is_filter {
        known = [None; 3];
    }
    let environment = Environment {
        memory_bytes,
        memory_grows: false,
        table: &layout.table,
        frame_slots: &layout.frame_slots,
        global_stride: 8,
        most_instructions: 1_000_000,
        parameters: &known,
        results: if is_filter {
            Results::Verdict
        } else {
            Results::Stay
        },
    };
    let code = match compile(&wasm, "f", &environment) {
        Ok(code) => code,
        Err(Unsupported::Frame) => return,
        Err(error) => panic!("{error}"),
    };
    let globals = arithmetic::GLOBALS.map(|(ty, value)| match ty {
        wasm_encoder::ValType::I64 => value as u64,
        _ => u64::from(value as u32),
    });
    let mut compiled = Instance::of(&code, memory_bytes as usize >> 16, &globals);
    compiled.is_filter = is_filter;
    for _ in 0..CALLS {
        let mut argument = || match random.below(3) {
            0 => random.below(100),
            1 => random.below(0x2_0000),
            _ => random.next() & 0xffff_ffff,
        };
        let arguments = known.map(|it| it.map_or_else(&mut argument, u64::from));
        let fuel = random.choose(&[20_000, 20_000, 2_000, 100]);
        let mut expected = reference.call(arguments, fuel);
        if is_filter && matches!(expected.0, Ok(2..)) {
            expected.0 = Err(UNKNOWN_VERDICT);
        }
        let outcome = compiled.call(arguments, fuel);
        assert_eq!(
            outcome.result, expected.0,
            "result of {arguments:?}, fuel {fuel}"
        );
        if outcome.result != Err(9) {
            assert_eq!(outcome.fuel, expected.1, "fuel for {arguments:?}");
        }
        assert!(compiled.memory() == reference.memory(), "memory");
        for (at, pointer) in layout.globals.iter().enumerate() {
            // SAFETY: That is where the value is, and nobody writes to it.
            let value: u64 = unsafe { pointer.cast().read() };
            assert_eq!(compiled.global(at), value, "global {at}");
        }
        stack[outcome.result.map_or_else(|trap| trap as usize, |_| 15)] += 1;
    }
}

#[test]
fn compiled_modules_do_as_interpreted_ones() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let seed = number("NF_WASM_SEED", 1);
    let (from, cases) = (number("NF_WASM_FROM", 0), number("NF_WASM_CASES", 300));
    let mut outcomes = [0; 16];
    for at in from..from + cases {
        let done = catch_unwind(AssertUnwindSafe(|| case(seed, at, &mut outcomes)));
        assert!(
            done.is_ok(),
            "NF_WASM_SEED={seed} NF_WASM_FROM={at} NF_WASM_CASES=1"
        );
    }
    eprintln!("{cases} modules; by trap, results last: {outcomes:?}");
    assert!(outcomes[15] > 0);
}
