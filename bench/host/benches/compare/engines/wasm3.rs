// SPDX-License-Identifier: GPL-2.0-only
//! The interpreter that earlier projects put into the kernel.

use super::{Case, Engine};
use anyhow::{anyhow, Result};
use wasm3::{Environment, Function, Module, Runtime};

/// Bytes of the interpreter's stack.
const STACK: u32 = 64 << 10;

struct Wasm3 {
    runtime: &'static Runtime,
    filter: Function<'static, (i32, i32, i32), i32>,
    arguments: (i32, i32, i32),
    shown: Vec<u8>,
    has_memory: bool,
}

impl Engine for Wasm3 {
    fn call(&mut self) -> Result<i32> {
        let (context, window, len) = self.arguments;
        if self.has_memory {
            let at = context as usize;
            // SAFETY: Nothing runs in the runtime while the slice is there.
            let memory = unsafe { &mut *self.runtime.memory_mut() };
            memory[at..at + self.shown.len()].copy_from_slice(&self.shown);
        }
        self.filter
            .call(context, window, len)
            .map_err(|error| anyhow!("{error}"))
    }
}

pub fn make(case: &Case) -> Result<Option<Box<dyn Engine>>> {
    let error = |error: wasm3::error::Error| anyhow!("{error}");
    let environment = Environment::new().map_err(error)?;
    let module = Module::parse(&environment, case.wasm.as_slice()).map_err(error)?;
    // Functions borrow the runtime, so it is leaked: it lives as long as the benchmark.
    let runtime: &'static Runtime =
        Box::leak(Box::new(environment.create_runtime(STACK).map_err(error)?));
    let module = runtime.load_module(module).map_err(error)?;
    if let Ok(init) = module.find_function::<(), i32>("nfw_init") {
        anyhow::ensure!(init.call().map_err(error)? == 0, "{}", case.name);
    }
    // SAFETY: Nothing runs in the runtime while the slice is there.
    let bytes = unsafe { (*runtime.memory()).len() };
    Ok(Some(Box::new(Wasm3 {
        runtime,
        filter: runtime.find_function("nfw_filter").map_err(error)?,
        arguments: case.arguments(bytes),
        shown: case.shown(),
        has_memory: bytes > 0,
    })))
}
