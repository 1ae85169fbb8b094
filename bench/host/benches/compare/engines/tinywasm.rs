// SPDX-License-Identifier: GPL-2.0-only
//! An interpreter without unsafe code.

use super::{Case, Engine};
use anyhow::{anyhow, Result};
use tinywasm::{FuncHandleTyped, Module, ModuleInstance, Store};

struct TinyWasm {
    store: Store,
    instance: ModuleInstance,
    filter: FuncHandleTyped<(i32, i32, i32), i32>,
    has_memory: bool,
    arguments: (i32, i32, i32),
    shown: Vec<u8>,
}

impl Engine for TinyWasm {
    fn call(&mut self) -> Result<i32> {
        if self.has_memory {
            let at = self.arguments.0 as usize;
            self.instance
                .exported_memory_mut(&mut self.store, "memory")
                .and_then(|mut memory| memory.store(at, self.shown.len(), &self.shown))
                .map_err(|error| anyhow!("{error}"))?;
        }
        self.filter
            .call(&mut self.store, self.arguments)
            .map_err(|error| anyhow!("{error}"))
    }
}

pub fn make(case: &Case) -> Result<Option<Box<dyn Engine>>> {
    let error = |error: tinywasm::Error| anyhow!("{error}");
    let module = Module::parse_bytes(&case.wasm).map_err(error)?;
    let mut store = Store::default();
    let instance = module.instantiate(&mut store, None).map_err(error)?;
    if let Ok(init) = instance.exported_func::<(), i32>(&store, "nfw_init") {
        anyhow::ensure!(
            init.call(&mut store, ()).map_err(error)? == 0,
            "{}",
            case.name
        );
    }
    let pages = instance
        .exported_memory_mut(&mut store, "memory")
        .map_or(0, |mut memory| memory.page_count());
    let filter = instance
        .exported_func(&store, "nfw_filter")
        .map_err(error)?;
    Ok(Some(Box::new(TinyWasm {
        filter,
        store,
        instance,
        has_memory: pages > 0,
        arguments: case.arguments(pages * 65_536),
        shown: case.shown(),
    })))
}
