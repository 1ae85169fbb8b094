// SPDX-License-Identifier: GPL-2.0-only
//! One instance of a filter, for one CPU.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use nf_wasm_jit::Code;
use nf_wasm_shared::abi::capability;
use nf_wasm_shared::abi::guest::{
    Context, ACCEPT, DROP, EXPORT_BUF, EXPORT_FILTER, EXPORT_INIT, EXPORT_MEMORY, VERSION,
};
use nf_wasm_shared::abi::trap::Trap;
use wasmi::errors::{ErrorKind, InstantiationError};
use wasmi::{Engine, Error, Linker, Memory, Module, PreparedFunc, Store};

use crate::capability::Native;
use crate::config::config;
use crate::host::{Host, Stage};
use crate::inspect::{inspect, Inspection};
use crate::native::{NativeFilter, Unsupported};
use crate::refusal::{refuse, Refusal, RefusalKind};
use crate::state::State;
use crate::trap::trap_of;
use crate::warm::warm;
use crate::window::{Buffer, CONTEXT_BYTES};

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

/// The outcome of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// [`DROP`] or [`ACCEPT`], or the trap.
    pub verdict: Result<i32, Trap>,
    /// Fuel used.
    pub fuel_used: u64,
}

impl Outcome {
    fn new(verdict: Result<i32, Trap>, fuel: u64, left: u64) -> Self {
        let fuel_used = match verdict {
            // Fuel is charged when a block is entered. If it does not suffice, some is left, which
            // the guest cannot use. So it counts as used.
            Err(Trap::OutOfFuel) => fuel,
            _ => fuel.saturating_sub(left),
        };
        Self { verdict, fuel_used }
    }
}

type Filter = PreparedFunc<(u32, u32, u32), i32>;

/// A filter that is ready for packets.
///
/// It has its own engine, code map and stack, and shares nothing with other instances. So wasmi's
/// locks are never contended. A call has exclusive access.
pub struct Instance<H> {
    pub(crate) store: Store<State<H>>,
    filter: Filter,
    /// The linear memory and the buffer in it, if the guest has a memory.
    pub(crate) buffer: Option<(Memory, Buffer)>,
    /// Bytes of the window that the last packet wrote to the buffer.
    shown: u32,
    capabilities_used: u64,
    /// The imported functions' entries for compiled code. They are kept because a second inspection
    /// of the module would take too long.
    imports: Vec<Native<H>>,
    /// The filter as compiled code.
    pub(crate) native: Option<NativeFilter<H>>,
    instance: wasmi::Instance,
}

impl<H: Host> Instance<H> {
    /// Validates, translates, links and instantiates `wasm`, calls the exports that set it up, and
    /// warms up the interpreter.
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
        store.data_mut().host.enter(Stage::Warm);
        warm(engine)?;
        // This takes the engine's stack, so it comes after `warm`.
        let filter = instance
            .get_typed_func(&store, EXPORT_FILTER)
            .and_then(|filter| filter.prepare(&mut store))
            .map_err(inconsistent)?
            .ok_or_else(|| inconsistent("the filter is the host's"))?;
        let imports = inspection.imports.iter().map(|import| {
            crate::capability::native(import.module, import.name)
                .ok_or_else(|| inconsistent("an import that code cannot call"))
        });
        let imports = imports.collect::<Result<_, _>>()?;
        store.data_mut().forbid_growth();
        store.data_mut().host.enter(Stage::Ready);
        Ok(Box::new(Self {
            store,
            filter,
            buffer,
            shown: 0,
            capabilities_used: inspection.capabilities,
            imports,
            native: None,
            instance,
        }))
    }

    /// Bytes of the linear memory, which no longer grows.
    pub fn memory_bytes(&self) -> usize {
        self.buffer
            .map_or(0, |(memory, _)| memory.data_size(&self.store))
    }

    /// Set of the capabilities that the module imports from.
    pub fn capabilities_used(&self) -> u64 {
        self.capabilities_used
    }

    /// The host. The caller sets the next packet on it.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.store.data_mut().host
    }

    /// Decides one packet. Fills in `version`, `size` and `window_len` of `context`.
    ///
    /// A trap leaves the instance usable, with its memory as the trap left it.
    pub fn call(&mut self, context: &mut Context, fuel: u64) -> Outcome {
        let (ctx, pkt, len) = match self.show(context) {
            Ok(arguments) => arguments,
            Err(trap) => {
                return Outcome {
                    verdict: Err(trap),
                    fuel_used: 0,
                }
            }
        };
        if self.native.as_ref().is_some_and(NativeFilter::is_linked) {
            let (verdict, left) = self.call_native(len, fuel);
            return Outcome::new(verdict, fuel, left);
        }
        let (result, left) = self.filter.call(&mut self.store, (ctx, pkt, len), fuel);
        let verdict = match result {
            Ok(verdict @ (DROP | ACCEPT)) => Ok(verdict),
            Ok(_) => Err(Trap::UnknownVerdict),
            Err(error) => Err(trap_of(&error)),
        };
        Outcome::new(verdict, fuel, left)
    }

    /// Compiles the filter: to code for a packet on a copy, and if possible to code for a packet in
    /// place. [`Self::link`] takes the native code. `wasm` is the binary of this instance's module.
    ///
    /// # Errors
    ///
    /// The reason why the filter stays interpreted.
    pub fn compile(&mut self, wasm: &[u8]) -> Result<(Code, Option<Code>), Unsupported> {
        let (native, code) = NativeFilter::compile(
            wasm,
            &self.imports,
            &mut self.store,
            self.instance,
            self.buffer,
        )?;
        self.native = Some(native);
        Ok(code)
    }

    /// Writes the context and the window to the buffer. Returns `nfw_filter`'s arguments.
    #[inline]
    fn show(&mut self, context: &mut Context) -> Result<(u32, u32, u32), Trap> {
        context.version = VERSION;
        context.size = CONTEXT_BYTES;
        context.window_len = 0;
        let Some((memory, buffer)) = self.buffer else {
            self.store.data_mut().packet_len = context.packet_len;
            return Ok((0, 0, 0));
        };
        let len = buffer.window_len(context.packet_len);
        context.window_len = len;
        let (data, state) = memory.data_and_store_mut(&mut self.store);
        state.packet_len = context.packet_len;
        let shown = self.native.as_ref().filter(|native| native.is_linked());
        let shown = shown.map_or(len, |native| native.shown().window.min(len));
        self.shown = self.shown.max(shown);
        let (context_bytes, window) = buffer.split(data, self.shown).ok_or(Trap::Internal)?;
        // Clear the bytes of an earlier, longer window.
        let (window, rest) = window.split_at_mut(shown as usize);
        state.host.load(0, window).map_err(|_| Trap::Packet)?;
        rest.fill(0);
        self.shown = shown;
        context.write_to(context_bytes);
        Ok((buffer.context_address(), buffer.window_address(), len))
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
fn inconsistent(what: impl core::fmt::Display) -> Refusal {
    Refusal::new(
        RefusalKind::Interface,
        format!("the engine contradicts itself, please report this: {what}"),
    )
}
