// SPDX-License-Identifier: GPL-2.0-only
//! Runs Wasm modules that are not filters, for the WebAssembly specification's test suite.
//!
//! Limits, inspection, translation and the interpreter's settings are those of filters. Only the
//! guest interface is not required.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use nf_wasm_shared::abi::limits;
use nf_wasm_shared::abi::trap::Trap;
use wasmi::errors::{ErrorKind, InstantiationError};
use wasmi::{
    AsContextMut, Error, Extern, ExternRef, Func, Global, Instance, InstanceLayout, Memory, Module,
    Ref, Store, StoreContext, StoreLimits, StoreLimitsBuilder, Val, ValType,
};

use nf_wasm_jit::{Code, Environment, Results};

use crate::inspect::{inspect_by, Rules};
use crate::native::{call_bare, globals, set_globals, NativeCode, OwnedMachine, MAX_INSTRUCTIONS};
use crate::refusal::{refuse, Refusal, RefusalKind};
use crate::snapshot::{new_engine, translate};
use crate::trap::trap_of;

/// Instances that may import from each other.
#[derive(Debug)]
pub struct Session {
    store: Store<StoreLimits>,
    /// The index is an instance's number. Entry 0 is never an instance.
    instances: Vec<Option<(Instance, Vec<u8>)>>,
    /// Registered names and their instances, the latest last.
    registered: Vec<(String, Instance)>,
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called<T> {
    /// The result, or the trap.
    pub result: Result<T, Trap>,
    /// Fuel used.
    pub fuel_used: u64,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session without instances.
    pub fn new() -> Self {
        let limits = StoreLimitsBuilder::new()
            // The allocator bounds the memory of all instances together.
            .instances(usize::MAX)
            .memories(usize::MAX)
            .tables(usize::MAX)
            .memory_size(limits::MEMORY_PAGES as usize * 65_536)
            .table_elements(limits::TABLE_ELEMENTS as usize)
            .build();
        let mut store = Store::new(&new_engine(), limits);
        store.limiter(|limits| limits);
        Self {
            store,
            instances: Vec::from([None]),
            registered: Vec::new(),
        }
    }

    /// Makes an instance and runs its start function. Returns its number, which is not 0.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]: the module is malformed or over a limit, or an import is missing.
    pub fn instantiate(&mut self, wasm: &[u8], fuel: u64) -> Result<Called<u32>, Refusal> {
        let inspection = inspect_by(wasm, Rules::Dialect)?;
        drop(inspection);
        let module = translate(self.store.engine(), wasm)?;
        let imports = self.resolve(&module)?;
        self.store.set_fuel(fuel).map_err(unexpected)?;
        let result = match Instance::new(&mut self.store, &module, &imports) {
            Ok(instance) => {
                self.instances.push(Some((instance, wasm.to_vec())));
                Ok((self.instances.len() - 1) as u32)
            }
            Err(error) => Err(trap_of_instantiation(&error)?),
        };
        Ok(self.called(result, fuel))
    }

    /// Resolves a module's imports, in the module's order.
    #[inline(never)]
    fn resolve(&self, module: &Module) -> Result<Vec<Extern>, Refusal> {
        let mut externs = Vec::new();
        for import in module.imports() {
            let (module, name) = (import.module(), import.name());
            let Some((_, from)) = self.registered.iter().rfind(|(name, _)| name == module) else {
                refuse!(Interface, "no instance is registered as {module:?}");
            };
            let Some(found) = from.get_export(&self.store, name) else {
                refuse!(Interface, "unknown import {name:?} of {module:?}");
            };
            externs.push(found);
        }
        Ok(externs)
    }

    /// Registers an instance under a name, so that later instances can import from it.
    ///
    /// # Errors
    ///
    /// There is no such instance.
    pub fn register(&mut self, instance: u32, name: &str) -> Result<(), Refusal> {
        let instance = self.instance(instance)?;
        self.registered.push((name.into(), instance));
        Ok(())
    }

    /// Calls an exported function with the first `arguments` of `values`. Writes its results to
    /// `values` and returns their number.
    ///
    /// # Errors
    ///
    /// There is no such function, or `values` do not fit its type.
    pub fn invoke(
        &mut self,
        instance: u32,
        name: &str,
        values: &mut [u64],
        arguments: usize,
        fuel: u64,
    ) -> Result<Called<u32>, Refusal> {
        let function = self.function(instance, name)?;
        let ty = function.ty(&self.store);
        let (params, results) = (ty.params(), ty.results());
        if arguments != params.len() || params.len().max(results.len()) > values.len() {
            refuse!(
                Interface,
                "{name:?} has {} parameters and {} results; {arguments} arguments were given",
                params.len(),
                results.len()
            );
        }
        let mut inputs = Vec::new();
        for (ty, bits) in params.iter().zip(&*values) {
            inputs.push(value(&mut self.store, *ty, *bits)?);
        }
        let mut outputs: Vec<Val> = results.iter().copied().map(Val::default).collect();
        self.store.set_fuel(fuel).map_err(unexpected)?;
        let result = match function.call(&mut self.store, &inputs, &mut outputs) {
            Ok(()) => {
                for (to, value) in values.iter_mut().zip(&outputs) {
                    *to = bits((&self.store).into(), value);
                }
                Ok(outputs.len() as u32)
            }
            Err(error) => Err(trap_of(&error)),
        };
        Ok(self.called(result, fuel))
    }

    /// As [`Self::invoke`], but as native code, which `assemble` makes. `None` if that is not
    /// possible.
    ///
    /// # Errors
    ///
    /// As [`Self::invoke`].
    pub fn invoke_natively(
        &mut self,
        instance: u32,
        name: &str,
        values: &mut [u64],
        arguments: usize,
        fuel: u64,
        assemble: impl FnOnce(&Code) -> Option<Box<dyn NativeCode>>,
    ) -> Result<Option<Called<u32>>, Refusal> {
        let ty = self.function(instance, name)?.ty(&self.store);
        let (params, results) = (ty.params(), ty.results());
        if arguments != params.len() || results.len() > values.len() {
            // The caller then calls `invoke`, which reports the error.
            return Ok(None);
        }
        for (ty, bits) in params.iter().zip(&mut *values) {
            if *ty == ValType::I32 {
                *bits = u64::from(*bits as u32);
            }
        }
        let Some((mut machine, code, layout)) = self.compile(instance, name) else {
            return Ok(None);
        };
        let Some(native) = assemble(&code) else {
            return Ok(None);
        };
        let count = (arguments, results.len());
        let (result, left) = call_bare(&mut machine, &*native, values, count, fuel);
        set_globals(&layout, &machine);
        Ok(Some(Called {
            result: result.map(|()| results.len() as u32),
            fuel_used: fuel.saturating_sub(left),
        }))
    }

    /// Compiles an exported function for the current state of an instance.
    fn compile(
        &mut self,
        instance: u32,
        name: &str,
    ) -> Option<(OwnedMachine, Code, InstanceLayout)> {
        let Some(Some((instance, wasm))) = self.instances.get(instance as usize) else {
            return None;
        };
        let layout = instance.layout(&mut self.store)?;
        let mut memory_grows = false;
        let memory: *mut [u8] = match layout.memory {
            None => &mut [],
            Some(memory) => {
                let maximum = memory.ty(&self.store).maximum();
                memory_grows = maximum != Some(memory.size(&self.store));
                memory.data_mut(&mut self.store)
            }
        };
        let environment = Environment {
            memory_bytes: memory.len() as u64,
            memory_grows,
            table: &layout.table,
            frame_slots: &layout.frame_slots,
            // Functions of other modules cannot be called.
            imports: &[],
            fuel: None,
            max_instructions: MAX_INSTRUCTIONS,
            parameters: &[],
            results: Results::Stay,
        };
        let code = nf_wasm_jit::compile(wasm, name, &environment).ok()?;
        let machine = OwnedMachine::new(&code, &globals(&layout), memory);
        Some((machine, code, layout))
    }

    /// Reads an exported global.
    ///
    /// # Errors
    ///
    /// There is no such global.
    pub fn get(&self, instance: u32, name: &str) -> Result<u64, Refusal> {
        let value = self.global(instance, name)?.get(&self.store);
        Ok(bits((&self.store).into(), &value))
    }

    /// Writes an exported global.
    ///
    /// # Errors
    ///
    /// There is no such global, or it cannot be written.
    pub fn set(&mut self, instance: u32, name: &str, bits: u64) -> Result<(), Refusal> {
        let global = self.global(instance, name)?;
        let ty = global.ty(&self.store).content();
        let value = value(&mut self.store, ty, bits)?;
        global.set(&mut self.store, value).map_err(|error| {
            Refusal::new(
                RefusalKind::Interface,
                format!("the global {name:?} was not written: {error}"),
            )
        })
    }

    /// Copies bytes of an exported memory.
    ///
    /// # Errors
    ///
    /// There is no such memory, or it ends before the last byte.
    pub fn read(
        &self,
        instance: u32,
        name: &str,
        offset: u64,
        to: &mut [u8],
    ) -> Result<(), Refusal> {
        let memory = self.memory(instance, name)?;
        let data = memory.data(&self.store);
        let from = usize::try_from(offset)
            .ok()
            .and_then(|start| data.get(start..)?.get(..to.len()));
        let Some(from) = from else {
            refuse!(
                Interface,
                "the memory {name:?} has {:#x} bytes; {:#x} at {offset:#x} are not among them",
                data.len(),
                to.len()
            );
        };
        to.copy_from_slice(from);
        Ok(())
    }

    fn called<T>(&self, result: Result<T, Trap>, fuel: u64) -> Called<T> {
        Called {
            result,
            fuel_used: fuel.saturating_sub(self.store.get_fuel().unwrap_or(0)),
        }
    }

    fn instance(&self, number: u32) -> Result<Instance, Refusal> {
        match self.instances.get(number as usize) {
            Some(Some((instance, _))) => Ok(*instance),
            _ => refuse!(Interface, "no instance has the number {number}"),
        }
    }

    fn export(&self, instance: u32, name: &str) -> Result<Extern, Refusal> {
        match self.instance(instance)?.get_export(&self.store, name) {
            Some(export) => Ok(export),
            None => refuse!(Interface, "instance {instance} exports no {name:?}"),
        }
    }

    fn function(&self, instance: u32, name: &str) -> Result<Func, Refusal> {
        match self.export(instance, name)? {
            Extern::Func(function) => Ok(function),
            _ => refuse!(Interface, "{name:?} is not a function"),
        }
    }

    fn global(&self, instance: u32, name: &str) -> Result<Global, Refusal> {
        match self.export(instance, name)? {
            Extern::Global(global) => Ok(global),
            _ => refuse!(Interface, "{name:?} is not a global"),
        }
    }

    fn memory(&self, instance: u32, name: &str) -> Result<Memory, Refusal> {
        match self.export(instance, name)? {
            Extern::Memory(memory) => Ok(memory),
            _ => refuse!(Interface, "{name:?} is not a memory"),
        }
    }
}

/// Decodes a value of type `ty`.
fn value(store: impl AsContextMut, ty: ValType, bits: u64) -> Result<Val, Refusal> {
    Ok(match ty {
        ValType::I32 => Val::I32(bits as i32),
        ValType::I64 => Val::I64(bits as i64),
        ValType::F32 => Val::F32(f32::from_bits(bits as u32).into()),
        ValType::F64 => Val::F64(f64::from_bits(bits).into()),
        ValType::ExternRef if bits != 0 => Val::ExternRef(ExternRef::new(store, bits).into()),
        ValType::ExternRef => Val::ExternRef(Ref::Null),
        ValType::FuncRef if bits == 0 => Val::FuncRef(Ref::Null),
        ValType::FuncRef => refuse!(Interface, "a funcref cannot be given, but null"),
        ValType::V128 => refuse!(Interface, "a vector has no 64 bits"),
    })
}

/// Encodes a value.
fn bits(store: StoreContext<'_, StoreLimits>, value: &Val) -> u64 {
    match value {
        Val::I32(value) => u64::from(*value as u32),
        Val::I64(value) => *value as u64,
        Val::F32(value) => u64::from(value.to_bits()),
        Val::F64(value) => value.to_bits(),
        Val::FuncRef(value) => u64::from(!value.is_null()),
        Val::ExternRef(Ref::Null) => 0,
        // Only `value` makes these.
        Val::ExternRef(Ref::Val(value)) => value
            .data(store)
            .downcast_ref()
            .copied()
            .unwrap_or(u64::MAX),
        Val::V128(_) => u64::MAX,
    }
}

/// The trap that ended an instantiation, or the refusal of one that could not begin.
fn trap_of_instantiation(error: &Error) -> Result<Trap, Refusal> {
    match error.kind() {
        // Earlier segments stay written.
        ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. }) => {
            Ok(Trap::TableOutOfBounds)
        }
        ErrorKind::Instantiation(
            InstantiationError::FailedToInstantiateMemory(_)
            | InstantiationError::FailedToInstantiateTable(_),
        ) => refuse!(OutOfMemory, "no memory for an instance: {error}"),
        ErrorKind::Instantiation(_) | ErrorKind::Linker(_) => {
            refuse!(Interface, "the module cannot be instantiated: {error}")
        }
        _ => Ok(trap_of(error)),
    }
}

fn unexpected(error: Error) -> Refusal {
    Refusal::new(RefusalKind::Interface, format!("{error}"))
}
