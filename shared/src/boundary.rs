// SPDX-License-Identifier: GPL-2.0-only
//! The boundary between the two halves of the kernel module.
//!
//! Both halves include this file: the engine's object (`kmod/engine`, built by cargo) and the
//! kernel half (built by Kbuild). All calls between them are declared here. A *host* pointer
//! belongs to the kernel half. The engine only passes it back.

use core::ffi::{c_char, c_void};
use core::mem::MaybeUninit;

use super::abi::guest::Context;
use super::abi::ioctl::TIER_REASON_LEN;
use super::machine::Run;

/// The arguments and results of a build.
#[repr(C)]
pub struct BuildRequest {
    /// The Wasm binary.
    pub wasm: *const u8,
    /// Its bytes.
    pub wasm_len: usize,
    /// Granted capabilities.
    pub capabilities: u64,
    /// Bytes of the window.
    pub snaplen: u32,
    /// Maximum number of pages of the linear memory.
    pub memory_pages: u32,
    /// Fuel for `nfw_init`.
    pub init_fuel: u64,
    /// Fuel for each packet, at most [`MAX_FUEL`](super::abi::limits::MAX_FUEL).
    pub fuel: u64,
    /// Passed to the callbacks during `nfw_init`.
    pub host: *mut c_void,
    /// A buffer for the text of a refusal.
    pub text: *mut u8,
    /// Bytes of the buffer.
    pub text_len: usize,
    /// Out: bytes of text written.
    pub text_used: usize,
    /// Out: the snapshot. It lives in the build's region, and nobody drops it: freeing the region is
    /// enough.
    pub snapshot: *mut c_void,
    /// Out: set of the capabilities that the module imports from.
    pub capabilities_used: u64,
    /// The requested tier: one of the `TIER_*`.
    pub tier: u32,
    /// Out: whether it was compiled.
    pub compiled: bool,
    /// Out: the native code. Initialised if `compiled` is set.
    pub native: MaybeUninit<NativeFilter>,
    /// Out: why it was not compiled, unless `tier` forbids that. Text with NUL.
    pub tier_reason: [u8; TIER_REASON_LEN],
}

/// A filter as native code, and what its instances begin with. The kernel half makes the instances
/// and calls the code, without the engine: it writes context and window, and calls the code.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NativeFilter {
    /// The result of [`nf_wasm_host_jit`]. Freeing the region does not free it.
    pub program: *mut c_void,
    /// The code. It gives each packet the fuel of the build's request.
    pub run: Run,
    /// Slots of frames, which follow the machine.
    pub slots: u32,
    /// Number of globals.
    pub globals_len: u32,
    /// The values with which the globals begin. They live in the region.
    pub globals: *const u64,
    /// The bytes with which the linear memory begins. They live in the region.
    pub memory: *const u8,
    /// Bytes of the linear memory.
    pub memory_bytes: usize,
    /// Bytes behind the linear memory that the code may access while a check is mispredicted. They
    /// are zero.
    pub guard_bytes: usize,
    /// Whether the code reads any of: context, window, the window's length.
    pub reads_packet: bool,
    /// Whether the code calls host functions.
    pub calls_host: bool,
    /// Where the context is in linear memory, followed by the window, if the code reads them.
    pub context: u32,
    /// Maximum bytes of the window.
    pub snaplen: u32,
    /// Bytes of the window that the code can read.
    pub window: u32,
    /// The code for packets in place.
    pub in_place: InPlaceCall,
}

/// How a filter that only reads is called on a packet in place. It runs on the same machine, and
/// reads the same context; the window points into the skb. If the code would read beyond the linear
/// bytes, it bails out with the trap `memory-out-of-bounds`, and [`NativeFilter::run`] decides the
/// packet on a copy.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct InPlaceCall {
    /// See [`NativeFilter::program`]; null if there is no code for packets in place.
    pub program: *mut c_void,
    /// The code, if there is any.
    pub run: Option<Run>,
    /// Bytes of the packet that must be linear.
    pub window: u32,
    /// Words of the context that the code reads: a set of word numbers.
    pub context_words: u32,
}

/// The outcome of one packet. Returned in registers.
#[repr(C)]
pub struct CallOutcome {
    /// The result of `nfw_filter`, if `trap` is `NO_TRAP`.
    pub verdict: i32,
    /// Number of a trap, or `NO_TRAP`.
    pub trap: u32,
    /// Fuel used.
    pub fuel_used: u64,
}

/// One operation of a test of the engine; see `GuestTest` in `shared/src/abi/ioctl.rs`.
#[repr(C)]
pub struct GuestTestRequest {
    /// In: the session, or null for a new one. Out: the session. It lives in the thread's region,
    /// and nobody drops it.
    pub session: *mut c_void,
    /// One of the `GUEST_TEST_*` operations.
    pub operation: u32,
    /// In and out: an instance.
    pub instance: u32,
    /// A name.
    pub name: *const u8,
    /// Its bytes.
    pub name_len: usize,
    /// A Wasm binary.
    pub wasm: *const u8,
    /// Its bytes.
    pub wasm_len: usize,
    /// Fuel for this call.
    pub fuel: u64,
    /// Out: fuel used.
    pub fuel_used: u64,
    /// In and out: arguments, results, or a global's value.
    pub values: *mut u64,
    /// Number of elements of `values`.
    pub values_len: usize,
    /// In: number of arguments, at most `values_len`. Out: number of results.
    pub value_count: u32,
    /// Out: number of a trap, or `NO_TRAP`.
    pub trap: u32,
    /// In: the requested tier of a function. Out: the tier that it ran in. One of the `TIER_*`.
    pub tier: u32,
    /// Offset in a memory to read from.
    pub offset: u64,
    /// Destination of the bytes that are read.
    pub data: *mut u8,
    /// Bytes to read.
    pub data_len: usize,
    /// A buffer for the text of a refusal.
    pub text: *mut u8,
    /// Bytes of the buffer.
    pub text_len: usize,
    /// Out: bytes of text written.
    pub text_used: usize,
}

#[allow(
    dead_code,
    reason = "each half defines some of these and calls the others"
)]
extern "C" {
    // The engine, called by the kernel half.

    /// Builds a snapshot. Returns 0, or a negative errno and a text.
    ///
    /// # Safety
    ///
    /// Called in process context, on a thread that allocates from a region of its own. The pointers
    /// in `request` are valid for their documented use.
    pub fn nf_wasm_engine_build(request: *mut BuildRequest) -> i32;

    /// Copies a snapshot for an interpreted instance. Returns the instance, or null if the engine
    /// contradicts itself. The instance lives in the thread's region, and nobody drops it.
    ///
    /// # Safety
    ///
    /// Called as [`nf_wasm_engine_build`], which made `snapshot`. The snapshot's region lives as
    /// long as the instance. The callbacks accept `host`.
    pub fn nf_wasm_engine_copy(snapshot: *const c_void, host: *mut c_void) -> *mut c_void;

    /// Runs `nfw_filter` once, with `fuel`. Does not lock, sleep, or allocate more than the packet
    /// reserve. Fills in `version`, `size` and `window_len` of the context.
    ///
    /// # Safety
    ///
    /// `instance` came from [`nf_wasm_engine_copy`], its region lives, and nobody else uses it
    /// during the call. `context` is valid. The callbacks accept `host`.
    pub fn nf_wasm_engine_call(
        instance: *mut c_void,
        host: *mut c_void,
        context: *mut Context,
        fuel: u64,
    ) -> CallOutcome;

    /// Restores the state that an instance began with. Does not lock, sleep or allocate.
    ///
    /// # Safety
    ///
    /// As [`nf_wasm_engine_call`]. `snapshot` is what the instance was copied from.
    pub fn nf_wasm_engine_restore(instance: *mut c_void, snapshot: *const c_void);

    /// Runs an operation of a test. Returns 0, or a negative errno and a text.
    ///
    /// # Safety
    ///
    /// As [`nf_wasm_engine_build`]. All operations of a session have the same region, and do not
    /// run concurrently.
    pub fn nf_wasm_engine_guest_test(request: *mut GuestTestRequest) -> i32;

    // The kernel half, called by the engine.

    /// `GlobalAlloc::alloc`. Returns null if memory or the region's budget is used up.
    ///
    /// # Safety
    ///
    /// The engine calls it, on the packet path or on a thread with a region.
    pub fn nf_wasm_host_alloc(size: usize, align: usize) -> *mut u8;

    /// `GlobalAlloc::dealloc`.
    ///
    /// # Safety
    ///
    /// As [`nf_wasm_host_alloc`], which returned `ptr` for the same `size` and `align`, for the
    /// same instance or session. `ptr` is not used again.
    pub fn nf_wasm_host_free(ptr: *mut u8, size: usize, align: usize);

    /// Reports that the engine panicked, or that an infallible allocation failed. Ends the build's
    /// thread.
    ///
    /// # Safety
    ///
    /// `text` is valid for `len` bytes.
    pub fn nf_wasm_host_panic(text: *const u8, len: usize) -> !;

    /// Copies `len` bytes of the packet, from `offset` after its network header, to `to`. Returns
    /// the number of pieces of memory, beyond the first, that were searched, or a negative errno.
    ///
    /// # Safety
    ///
    /// `host` is the current call's; `to` is valid for `len` bytes.
    pub fn nf_wasm_host_load(host: *mut c_void, offset: u32, to: *mut u8, len: u32) -> i32;

    /// Logs one line for the guest.
    ///
    /// # Safety
    ///
    /// `host` is the current call's; `text` is valid for `len` bytes.
    pub fn nf_wasm_host_log(host: *mut c_void, text: *const u8, len: usize);

    /// Nanoseconds of the monotonic (0) or the wall (1) clock.
    ///
    /// # Safety
    ///
    /// `host` is the current call's.
    pub fn nf_wasm_host_now(host: *mut c_void, clock: u32) -> u64;

    /// The packet's mark.
    ///
    /// # Safety
    ///
    /// `host` is the current call's.
    pub fn nf_wasm_host_mark(host: *mut c_void) -> u32;

    /// Sets the packet's mark.
    ///
    /// # Safety
    ///
    /// `host` is the current call's.
    pub fn nf_wasm_host_set_mark(host: *mut c_void, mark: u32);

    /// Compiles instructions with the kernel's eBPF compiler. Returns the native code. On failure
    /// returns null, and writes the reason to `reason`, as text with NUL.
    ///
    /// # Safety
    ///
    /// All pointers are valid for their documented use.
    pub fn nf_wasm_host_jit(
        insns: *const c_void,
        len: u32,
        calls: *const u32,
        call_count: u32,
        helpers: *const *const c_void,
        stack: u32,
        run: *mut *const c_void,
        reason: *mut *const c_char,
    ) -> *mut c_void;

    /// Frees native code from [`nf_wasm_host_jit`].
    ///
    /// # Safety
    ///
    /// Only the caller has `program`, and the code no longer runs.
    pub fn nf_wasm_host_jit_free(program: *mut c_void);

    /// Yields, on the thread of a build. Returns whether the build is still wanted: its caller may
    /// have been killed. Called at intervals while a filter is compiled.
    ///
    /// # Safety
    ///
    /// As [`nf_wasm_engine_build`], whose thread this is called on.
    pub fn nf_wasm_host_pause() -> bool;

    /// Reports that the build enters a stage: check (0), translate, instantiate, then ready (4). If
    /// the filter is compiled, compile (5) and ready follow. For an interpreted instance: copy (3)
    /// and ready.
    ///
    /// # Safety
    ///
    /// `host` is the current build's.
    pub fn nf_wasm_host_enter(host: *mut c_void, stage: u32);
}
