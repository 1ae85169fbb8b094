// SPDX-License-Identifier: GPL-2.0-only
//! An interpreted instance of a filter.

use alloc::boxed::Box;
use nf_wasm_shared::abi::guest::{Context, ACCEPT, DROP, EXPORT_FILTER, VERSION};
use nf_wasm_shared::abi::trap::Trap;
use wasmi::{Memory, PreparedFunc, Store};

use crate::host::Host;
use crate::refusal::Refusal;
use crate::snapshot::{inconsistent, Options, Snapshot};
use crate::state::State;
use crate::trap::trap_of;
use crate::window::{Buffer, CONTEXT_BYTES};

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

/// An interpreted instance, which is ready for packets.
///
/// It has its own linear memory, globals, table and stack. It shares the translated code with the
/// other instances of its snapshot; reading that takes no lock. A call has exclusive access.
pub struct Instance<H> {
    store: Store<State<H>>,
    filter: Filter,
    buffer: Option<(Memory, Buffer)>,
    /// Bytes of the window that the last packet wrote to the buffer.
    shown: u32,
}

impl<H: Host> Instance<H> {
    /// The only instance of a new snapshot: see [`Snapshot::new`].
    ///
    /// # Errors
    ///
    /// A [`Refusal`].
    pub fn new(wasm: &[u8], options: &Options, host: H) -> Result<Box<Self>, Refusal> {
        Snapshot::new(wasm, options, host)?.into_instance()
    }

    /// An instance on a store that has the snapshot's entities.
    pub(crate) fn on(
        mut store: Store<State<H>>,
        instance: wasmi::Instance,
        buffer: Option<(Memory, Buffer)>,
    ) -> Result<Box<Self>, Refusal> {
        store.limiter(|state| &mut state.growth);
        store.data_mut().forbid_growth();
        let filter = instance
            .get_typed_func(&store, EXPORT_FILTER)
            .and_then(|filter| filter.prepare(&mut store))
            .map_err(inconsistent)?
            .ok_or_else(|| inconsistent("the filter is the host's"))?;
        Ok(Box::new(Self {
            store,
            filter,
            buffer,
            shown: 0,
        }))
    }

    /// Restores the state that the instance began with: linear memory, globals, table and segments.
    /// The instance came from [`Snapshot::instance`] of `snapshot`. Allocates nothing.
    pub fn restore(&mut self, snapshot: &Snapshot<H>) {
        self.store.restore(snapshot.store());
        self.shown = 0;
    }

    /// The linear memory. Empty if the guest has none.
    pub fn memory(&self) -> &[u8] {
        self.buffer
            .map_or(&[], |(memory, _)| memory.data(&self.store))
    }

    /// The host. The caller sets the next packet on it.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.store.data_mut().host_state.host
    }

    /// Decides one packet. Fills in `version`, `size` and `window_len` of `context`.
    ///
    /// A trap leaves the instance usable, with its memory as the trap left it.
    pub fn call(&mut self, context: &mut Context, fuel: u64) -> Outcome {
        let arguments = match self.show(context) {
            Ok(arguments) => arguments,
            Err(trap) => {
                return Outcome {
                    verdict: Err(trap),
                    fuel_used: 0,
                }
            }
        };
        let (result, left) = self.filter.call(&mut self.store, arguments, fuel);
        let verdict = match result {
            Ok(verdict @ (DROP | ACCEPT)) => Ok(verdict),
            Ok(_) => Err(Trap::UnknownVerdict),
            Err(error) => Err(trap_of(&error)),
        };
        Outcome::new(verdict, fuel, left)
    }

    /// Writes the context and the window to the buffer. Returns `nfw_filter`'s arguments.
    #[inline]
    fn show(&mut self, context: &mut Context) -> Result<(u32, u32, u32), Trap> {
        context.version = VERSION;
        context.size = CONTEXT_BYTES;
        context.window_len = 0;
        let Some((memory, buffer)) = self.buffer else {
            self.store.data_mut().host_state.packet_len = context.packet_len;
            return Ok((0, 0, 0));
        };
        let len = buffer.window_len(context.packet_len);
        context.window_len = len;
        let (data, State { host_state, .. }) = memory.data_and_store_mut(&mut self.store);
        host_state.packet_len = context.packet_len;
        self.shown = self.shown.max(len);
        let (context_bytes, window) = buffer.split(data, self.shown).ok_or(Trap::Internal)?;
        // Clear the bytes of an earlier, longer window.
        let (window, rest) = window.split_at_mut(len as usize);
        host_state.host.load(0, window).map_err(|_| Trap::Packet)?;
        rest.fill(0);
        self.shown = len;
        context.write_to(context_bytes);
        Ok((buffer.context_address(), buffer.window_address(), len))
    }
}
