// SPDX-License-Identifier: GPL-2.0-only
//! wasmtime, which compiles with Cranelift.

use super::{Case, Engine};
use anyhow::{Context, Result};
use wasmtime::{Instance, Memory, Module, Store, TypedFunc};

struct Wasmtime {
    store: Store<()>,
    memory: Option<Memory>,
    filter: TypedFunc<(i32, i32, i32), i32>,
    arguments: (i32, i32, i32),
    shown: Vec<u8>,
}

impl Engine for Wasmtime {
    fn call(&mut self) -> Result<i32> {
        if let Some(memory) = self.memory {
            memory.write(&mut self.store, self.arguments.0 as usize, &self.shown)?;
        }
        self.filter.call(&mut self.store, self.arguments)
    }
}

pub fn make(case: &Case) -> Result<Option<Box<dyn Engine>>> {
    let engine = wasmtime::Engine::default();
    let module = Module::new(&engine, &case.wasm)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).context("instance")?;
    if let Ok(init) = instance.get_typed_func::<(), i32>(&mut store, "nfw_init") {
        anyhow::ensure!(init.call(&mut store, ())? == 0, "{}", case.name);
    }
    let memory = instance.get_memory(&mut store, "memory");
    let bytes = memory.map_or(0, |it| it.data_size(&store));
    Ok(Some(Box::new(Wasmtime {
        filter: instance.get_typed_func(&mut store, "nfw_filter")?,
        memory,
        store,
        arguments: case.arguments(bytes),
        shown: case.shown(),
    })))
}
