// SPDX-License-Identifier: GPL-2.0-only
//! The `Host` trait: the engine's interface to packet, log and clock. The kernel half and tests
//! implement it.

/// A clock that a guest may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    Monotonic,
    /// Nanoseconds since 1970-01-01 00:00 UTC.
    Realtime,
}

/// The stages of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// Validates the module, and checks it against the guest interface and the limits.
    Check,
    /// Translates it for the interpreter.
    Translate,
    /// Creates and fills memory and tables. Calls `_initialize`, `nfw_buf` and `nfw_init`, if they
    /// are exported.
    Instantiate,
    /// Copies a snapshot for an interpreted instance.
    Copy,
    /// The snapshot or the instance is ready.
    Ready,
    /// Compiles the filter. `Ready` follows once more.
    Compile,
}

/// The current packet, and everything else that a guest can reach through its capabilities.
///
/// Called on the packet path: implementations do not allocate, lock or sleep. The exports that set
/// up the guest may call host functions, too. There is no packet then, and its length is 0.
pub trait Host: 'static {
    /// Copies bytes of the packet, from `offset` after its network header. The range is within
    /// [`packet_len`](nf_wasm_shared::abi::guest::Context::packet_len).
    ///
    /// Returns the number of pieces of memory, beyond the first, that were searched for the bytes.
    /// Each costs the guest one unit of fuel.
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

    /// Yields during a compilation. Returns whether its result is still wanted. Called at intervals
    /// that are counted in steps ([`nf_wasm_jit::work`]), and not on the packet path.
    fn pause(&mut self) -> bool {
        true
    }

    /// The build enters `stage`. Not called on the packet path.
    fn enter(&mut self, stage: Stage) {
        let _ = stage;
    }
}
