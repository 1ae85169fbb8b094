// SPDX-License-Identifier: GPL-2.0-only
//! Snapshots: a filter that was validated, translated and set up once. Its instances begin as copies.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use nf_wasm_jit::HostFunction;
use nf_wasm_shared::abi::capability;
use nf_wasm_shared::abi::guest::{EXPORT_BUF, EXPORT_INIT, EXPORT_MEMORY};
use wasmi::errors::{ErrorKind, InstantiationError};
use wasmi::{Engine, Error, Linker, Memory, Module, Store};

use crate::config::config;
use crate::host::{Host, Stage};
use crate::inspect::{inspect, Inspection};
use crate::instance::Instance;
use crate::native::{Compiled, Unsupported};
use crate::refusal::{refuse, Refusal, RefusalKind};
use crate::state::State;
use crate::trap::trap_of;
use crate::window::Buffer;

/// The operator's settings for a filter.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Set of granted capabilities.
    pub capabilities: u64,
    /// Bytes of the window.
    pub snaplen: u32,
    /// Maximum number of pages of the linear memory.
    pub memory_pages: u32,
    /// Fuel for `nfw_init`, and the same amount for each export that is called before it.
    pub init_fuel: u64,
}

/// A filter after its translation, and the state that its instances begin with: linear memory,
/// globals and table, as the exports left them that set up the filter.
pub struct Snapshot<H> {
    store: Store<State<H>>,
    instance: wasmi::Instance,
    /// The linear memory and the buffer in it, if the guest has a memory.
    buffer: Option<(Memory, Buffer)>,
    capabilities_used: u64,
    /// The imported functions. They are kept because a second inspection of the module would take
    /// too long.
    imports: Vec<HostFunction>,
}

impl<H: Host> Snapshot<H> {
    /// Validates, translates, links and instantiates `wasm`, and calls the exports that set it up.
    ///
    /// The kernel's stack is small. So no stage is inlined: one stage's temporaries take no stack
    /// in another.
    ///
    /// # Errors
    ///
    /// A [`Refusal`].
    pub fn new(wasm: &[u8], options: &Options, mut host: H) -> Result<Box<Self>, Refusal> {
        host.enter(Stage::Check);
        let inspection = check(wasm, options)?;
        host.enter(Stage::Translate);
        let engine = new_engine();
        let module = translate(&engine, wasm)?;
        Self::start(&engine, &module, &inspection, options, host)
    }

    /// The stages after translation. Not inlined: translation needs the stack that these take.
    #[inline(never)]
    fn start(
        engine: &Engine,
        module: &Module,
        inspection: &Inspection<'_>,
        options: &Options,
        mut host: H,
    ) -> Result<Box<Self>, Refusal> {
        host.enter(Stage::Instantiate);
        let mut store = Store::new(engine, State::new(host, options.memory_pages));
        store.limiter(|state| &mut state.growth);
        let instance = instantiate(&mut store, module, inspection.capabilities)?;
        if inspection.memory.is_some() {
            let memory = instance.get_memory(&store, EXPORT_MEMORY);
            let memory = memory.ok_or_else(|| inconsistent("no memory"))?;
            store.data_mut().memory = Some(memory);
        }
        // Toolchains do not allow any other call before this one.
        if let Some(initializer) = inspection.initializer {
            initialize(&mut store, instance, initializer, options)?;
        }
        let buffer = match store.data().memory {
            None => None,
            Some(memory) => {
                let buffer = find_buffer(&mut store, instance, memory, inspection, options)?;
                Some((memory, buffer))
            }
        };
        if inspection.has_init {
            init(&mut store, instance, options)?;
        }
        if let Some((memory, buffer)) = buffer {
            buffer.clear(memory.data_mut(&mut store));
        }
        let imports = inspection.imports.iter().map(|import| {
            crate::capability::host_function(import.module, import.name)
                .ok_or_else(|| inconsistent("an import that code cannot call"))
        });
        let imports = imports.collect::<Result<_, _>>()?;
        engine.freeze();
        store.data_mut().host_state.host.enter(Stage::Ready);
        Ok(Box::new(Self {
            store,
            instance,
            buffer,
            capabilities_used: inspection.capabilities,
            imports,
        }))
    }

    /// A new instance, with the host that it begins with.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], which is a bug of the engine.
    pub fn instance(&self, mut host: H) -> Result<Box<Instance<H>>, Refusal> {
        host.enter(Stage::Copy);
        let state = State {
            memory: self.store.data().memory,
            ..State::new(host, 0)
        };
        let mut instance = Instance::on(self.store.fork(state), self.instance, self.buffer)?;
        instance.host_mut().enter(Stage::Ready);
        Ok(instance)
    }

    /// Turns the snapshot into its only instance.
    ///
    /// # Errors
    ///
    /// As [`Self::instance`].
    pub fn into_instance(self) -> Result<Box<Instance<H>>, Refusal> {
        Instance::on(self.store, self.instance, self.buffer)
    }

    /// Compiles the filter, with `fuel` for each packet. Instances of the code begin with
    /// [`Self::memory`]. `wasm` is the binary of the snapshot's module.
    ///
    /// # Errors
    ///
    /// The reason why the filter stays interpreted.
    pub fn compile(&mut self, wasm: &[u8], fuel: u32) -> Result<Compiled, Unsupported> {
        let buffer = self.buffer.map(|(_, buffer)| buffer);
        let memory_bytes = self.memory().len();
        Compiled::new(
            wasm,
            &self.imports,
            &mut self.store,
            self.instance,
            memory_bytes,
            buffer,
            fuel,
        )
    }

    /// The linear memory, which does not grow any more. Empty if the guest has none.
    pub fn memory(&self) -> &[u8] {
        self.buffer
            .map_or(&[], |(memory, _)| memory.data(&self.store))
    }

    pub(crate) fn store(&self) -> &Store<State<H>> {
        &self.store
    }

    /// Set of the capabilities that the module imports from.
    pub fn capabilities_used(&self) -> u64 {
        self.capabilities_used
    }

    /// The host.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.store.data_mut().host_state.host
    }
}

/// Inspects `wasm`, and checks it against the operator's settings.
#[inline(never)]
fn check<'a>(wasm: &'a [u8], options: &Options) -> Result<Inspection<'a>, Refusal> {
    let inspection = inspect(wasm)?;
    for capability in capability::ALL {
        if inspection.capabilities & !options.capabilities & capability.bit != 0 {
            refuse!(
                Denied,
                "the filter imports from {name}, which was not granted; \
                 grant it with --allow {name} ({summary})",
                name = capability.name,
                summary = capability.summary,
            );
        }
    }
    if let Some(pages) = inspection.memory {
        if pages.min > options.memory_pages {
            refuse!(
                Limit,
                "the linear memory begins with {} pages, and {} are allowed",
                pages.min,
                options.memory_pages,
            );
        }
    }
    Ok(inspection)
}

#[inline(never)]
pub(crate) fn new_engine() -> Engine {
    Engine::new(&config())
}

#[inline(never)]
pub(crate) fn translate(engine: &Engine, wasm: &[u8]) -> Result<Module, Refusal> {
    // The module is valid, but wasmi has limits of its own on the registers and branches of one
    // function.
    Module::new(engine, wasm).map_err(|error| {
        Refusal::new(
            RefusalKind::Limit,
            format!("the interpreter cannot translate the module: {error}"),
        )
    })
}

#[inline(never)]
fn instantiate<H: Host>(
    store: &mut Store<State<H>>,
    module: &Module,
    capabilities: u64,
) -> Result<wasmi::Instance, Refusal> {
    let mut linker = Linker::new(store.engine());
    crate::capability::link(&mut linker, capabilities).map_err(inconsistent)?;
    linker
        .instantiate_and_start(store, module)
        .map_err(|error| match error.kind() {
            ErrorKind::Instantiation(
                InstantiationError::FailedToInstantiateMemory(_)
                | InstantiationError::FailedToInstantiateTable(_),
            ) => Refusal::new(
                RefusalKind::OutOfMemory,
                format!("memory ran out while the module was instantiated: {error}"),
            ),
            _ => Refusal::new(
                RefusalKind::Interface,
                format!("the module cannot be instantiated: {error}"),
            ),
        })
}

/// Calls the export that sets up the language's runtime.
#[inline(never)]
fn initialize<H: Host>(
    store: &mut Store<State<H>>,
    instance: wasmi::Instance,
    initializer: &str,
    options: &Options,
) -> Result<(), Refusal> {
    set_fuel(store, options.init_fuel)?;
    instance
        .get_typed_func::<(), ()>(&*store, initializer)
        .and_then(|initialize| initialize.call(&mut *store, ()))
        .map_err(|error| failed(initializer, &error))
}

/// Gets a buffer from the guest's `nfw_buf`, or appends pages for one.
#[inline(never)]
fn find_buffer<H: Host>(
    store: &mut Store<State<H>>,
    instance: wasmi::Instance,
    memory: Memory,
    inspection: &Inspection<'_>,
    options: &Options,
) -> Result<Buffer, Refusal> {
    let bytes = Buffer::bytes(options.snaplen);
    let address = if inspection.has_buf {
        set_fuel(store, options.init_fuel)?;
        instance
            .get_typed_func::<u32, u32>(&*store, EXPORT_BUF)
            .and_then(|buf| buf.call(&mut *store, bytes))
            .map_err(|error| failed(EXPORT_BUF, &error))?
    } else {
        append_pages(store, memory, bytes, options)?
    };
    match Buffer::at(address, options.snaplen, memory.data_size(&*store)) {
        Some(buffer) => Ok(buffer),
        None => refuse!(
            Interface,
            "{EXPORT_BUF}({bytes}) returned {address:#x}, which is not 8-aligned or leaves no \
             {bytes} bytes in the linear memory of {} bytes",
            memory.data_size(&*store),
        ),
    }
}

fn append_pages<H: Host>(
    store: &mut Store<State<H>>,
    memory: Memory,
    bytes: u32,
    options: &Options,
) -> Result<u32, Refusal> {
    let pages = u64::from(bytes.div_ceil(65_536));
    let room = memory.ty(&*store).maximum().unwrap_or(u64::MAX);
    let old = memory.size(&*store);
    if old + pages > u64::from(options.memory_pages) {
        refuse!(
            Limit,
            "the linear memory has {old} pages, the host needs {pages} more for its buffer, and \
             {} are allowed; export {EXPORT_BUF} or use less memory",
            options.memory_pages,
        );
    }
    if old + pages > room {
        refuse!(
            Interface,
            "the linear memory has {old} pages and may have {room}, but the host needs {pages} \
             more for its buffer; raise the memory's maximum or export {EXPORT_BUF}",
        );
    }
    match memory.grow(store, pages) {
        // At most 64 pages of 64 KiB.
        Ok(old) => Ok((old * 65_536) as u32),
        Err(_) => refuse!(
            OutOfMemory,
            "memory ran out while linear memory grew by {pages} page(s) for the host's buffer"
        ),
    }
}

#[inline(never)]
fn init<H: Host>(
    store: &mut Store<State<H>>,
    instance: wasmi::Instance,
    options: &Options,
) -> Result<(), Refusal> {
    set_fuel(store, options.init_fuel)?;
    let result = instance
        .get_typed_func::<(), i32>(&*store, EXPORT_INIT)
        .and_then(|init| init.call(&mut *store, ()))
        .map_err(|error| failed(EXPORT_INIT, &error))?;
    if result != 0 {
        refuse!(
            Interface,
            "{EXPORT_INIT} returned {result}; only 0 means success"
        );
    }
    Ok(())
}

fn failed(function: &str, error: &Error) -> Refusal {
    let trap = trap_of(error);
    Refusal::new(
        RefusalKind::Interface,
        format!("{function} trapped: {} ({error})", trap.name()),
    )
}

fn set_fuel<H>(store: &mut Store<State<H>>, fuel: u64) -> Result<(), Refusal> {
    store.set_fuel(fuel).map_err(inconsistent)
}

/// The refusal for a state that [`inspect`] excludes: a bug of the engine.
pub(crate) fn inconsistent(what: impl core::fmt::Display) -> Refusal {
    Refusal::new(
        RefusalKind::Interface,
        format!("the engine contradicts itself, please report this: {what}"),
    )
}
