// SPDX-License-Identifier: GPL-2.0-only
//! The `Host` trait: what the engine asks of the kernel half, or of a test, while a filter runs.

/// A clock that a guest may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Nanoseconds since some moment before boot ended; never steps back.
    Monotonic,
    /// Nanoseconds since 1970-01-01 00:00 UTC.
    Realtime,
}

/// What a new instance goes through, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// The module is validated and held against the guest interface and the limits.
    Check,
    /// It is translated for the interpreter.
    Translate,
    /// Memory and tables are made and filled, and what the module exports for it sets it up:
    /// `_initialize`, `nfw_buf`, `nfw_init`.
    Instantiate,
    /// The engine's stack gets its full size.
    Warm,
    /// It is ready.
    Ready,
    /// It is compiled; then it is ready again.
    Compile,
}

/// The packet at hand, and what else a guest can reach through its capabilities.
///
/// Called on the packet path: implementations do not allocate, lock or sleep. What sets up the
/// module may call what it imports too; there is no packet then, its length is 0.
pub trait Host: 'static {
    /// Copies bytes of the packet, from `offset` after its network header. The engine asks only
    /// for what lies within [`packet_len`](nf_wasm_shared::abi::guest::Context::packet_len).
    ///
    /// Returns how many pieces of memory, beyond the first, had to be looked at to find them: each
    /// costs the guest a unit of fuel.
    ///
    /// # Errors
    ///
    /// A negative errno.
    fn load(&mut self, offset: u32, to: &mut [u8]) -> Result<u32, i32>;

    /// Logs one line: printable ASCII, at most
    /// [`LOG_LINE_BYTES`](nf_wasm_shared::abi::limits::LOG_LINE_BYTES).
    fn log(&mut self, text: &[u8]);

    /// Reads a clock.
    fn now(&mut self, clock: Clock) -> u64;

    /// The packet's mark.
    fn mark(&mut self) -> u32;

    /// Sets the packet's mark.
    fn set_mark(&mut self, mark: u32);

    /// An instance is being compiled, which may take a while: lets others run. Says whether to go on.
    /// Called every so many steps ([`nf_wasm_jit::work`]); this is not on the packet path.
    fn pause(&mut self) -> bool {
        true
    }

    /// A new instance has come to `stage`; this is not on the packet path.
    fn enter(&mut self, stage: Stage) {
        let _ = stage;
    }
}
