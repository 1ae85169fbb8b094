// SPDX-License-Identifier: GPL-2.0-only
//! The reference: the interpreter, configured as for filters.

use nf_wasm_shared::abi::limits;
use wasmi::{
    CompilationMode, Config, Engine, Linker, Module, Store, StoreLimits, StoreLimitsBuilder,
    TrapCode, Val,
};

pub struct Reference {
    pub store: Store<StoreLimits>,
    pub instance: wasmi::Instance,
    /// The results of the last call that returned.
    pub results: Vec<u64>,
}

impl Reference {
    pub fn new(wasm: &[u8]) -> Self {
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
        // As for filters: nothing grows while packets are decided.
        *store.data_mut() = StoreLimitsBuilder::new().memory_size(0).build();
        Self {
            store,
            instance,
            results: Vec::new(),
        }
    }

    /// Calls `f`. Returns its first result, or 0 if it has none, and the remaining fuel.
    pub fn call(&mut self, arguments: [u64; 3], fuel: i64) -> (Result<u64, u32>, i64) {
        self.store.set_fuel(fuel as u64).unwrap();
        let f = self.instance.get_func(&self.store, "f").unwrap();
        let arguments = arguments.map(|it| Val::I32(it as i32));
        let types = f.ty(&self.store);
        let mut results: Vec<Val> = types.results().iter().map(|it| Val::default(*it)).collect();
        let result = f
            .call(&mut self.store, &arguments, &mut results)
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
            })
            .map(|()| {
                self.results = results.iter().map(bits).collect();
                self.results.first().copied().unwrap_or(0)
            });
        (result, self.store.get_fuel().unwrap() as i64)
    }

    #[allow(dead_code, reason = "not all tests write to it")]
    pub fn memory_mut(&mut self) -> &mut [u8] {
        let memory = self.instance.get_memory(&self.store, "memory").unwrap();
        memory.data_mut(&mut self.store)
    }

    #[allow(dead_code, reason = "not all tests look at it")]
    pub fn memory(&self) -> &[u8] {
        let memory = self.instance.get_memory(&self.store, "memory").unwrap();
        memory.data(&self.store)
    }
}

/// A value in the format of a slot.
fn bits(value: &Val) -> u64 {
    match value {
        Val::I32(value) => u64::from(*value as u32),
        Val::I64(value) => *value as u64,
        other => panic!("{other:?}"),
    }
}
