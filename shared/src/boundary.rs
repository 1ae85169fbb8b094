// SPDX-License-Identifier: GPL-2.0-only
//! The boundary between the module's two halves, declared once.
//!
//! Both halves include this file: the engine's object (`kmod/engine`, built by cargo) and the
//! kernel half (built by Kbuild). Nothing else crosses. A *host* pointer is the kernel half's own
//! and is only handed back.

use core::ffi::{c_char, c_void};
use core::mem::MaybeUninit;

use super::abi::guest::Context;
use super::abi::ioctl::TIER_REASON_LEN;
use super::machine::{Machine, Run};

/// What the engine is to make an instance of.
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
    /// Most pages that the linear memory may have.
    pub memory_pages: u32,
    /// Fuel for `nfw_init`.
    pub init_fuel: u64,
    /// Handed to the callbacks during `nfw_init`.
    pub host: *mut c_void,
    /// Where the text of a refusal goes.
    pub text: *mut u8,
    /// Bytes that fit there.
    pub text_len: usize,
    /// Out: bytes of text written.
    pub text_used: usize,
    /// Out: the instance. It lives in the region that allocations were served from and has
    /// nothing to drop: freeing the region ends it.
    pub instance: *mut c_void,
    /// Out: set of the capabilities that the module imports from.
    pub capabilities_used: u64,
    /// How the instance is to run: one of the `TIER_*`.
    pub tier: u32,
    /// Out: whether it was compiled.
    pub compiled: bool,
    /// Out: how it is called then.
    pub native: MaybeUninit<NativeCall>,
    /// Out: why it was not, if that was not asked for; text with NUL.
    pub tier_reason: [u8; TIER_REASON_LEN],
}

/// How the kernel half calls a compiled filter without the engine: it writes context and window, sets the
/// machine's fuel, and calls the code.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NativeCall {
    /// What [`nf_wasm_host_jit`] made. It lives as long as the instance, and is not freed with its region.
    pub program: *mut c_void,
    /// The code.
    pub run: Run,
    /// The argument of the code.
    pub machine: *mut Machine,
    /// Destination of the context, followed by the window. Null if the code reads neither of them nor the
    /// window's length.
    pub context: *mut u8,
    /// Size of the window.
    pub snaplen: u32,
    /// Bytes of the window that the code can read.
    pub window: u32,
    /// The code for packets in place.
    pub in_place: InPlaceCall,
    /// Where host functions find the host; null if there are none.
    pub host: *mut *mut c_void,
    /// Where they find the packet's length; null if there are none.
    pub packet_len: *mut u32,
}

/// How a filter that only reads is called on a packet in place. It shares [`NativeCall`]'s machine and
/// context; the window points into the skb. If the code would read beyond the linear bytes, it bails out
/// with the trap `memory-out-of-bounds`, and `NativeCall` decides the packet on a copy.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct InPlaceCall {
    /// See [`NativeCall::program`]; null if there is no code for packets in place.
    pub program: *mut c_void,
    /// The code, if there is any.
    pub run: Option<Run>,
    /// Bytes of the packet that must be linear.
    pub window: u32,
    /// Words of the context that the code reads: a set of word numbers.
    pub context_words: u32,
}

/// What became of one packet. Comes back in registers.
#[repr(C)]
pub struct CallOutcome {
    /// What `nfw_filter` returned, if `trap` is `NO_TRAP`.
    pub verdict: i32,
    /// Number of a trap, or `NO_TRAP`.
    pub trap: u32,
    /// Fuel used.
    pub fuel_used: u64,
}

/// One operation of a test of the engine; see `GuestTest` in `shared/src/abi/ioctl.rs`.
#[repr(C)]
pub struct GuestTestRequest {
    /// The session, or null for a new one. Out: the session. It lives in the region that
    /// allocations were served from and has nothing to drop.
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
    /// Values that there is room for.
    pub values_len: usize,
    /// In: number of arguments, at most `values_len`. Out: number of results.
    pub value_count: u32,
    /// Out: number of a trap, or `NO_TRAP`.
    pub trap: u32,
    /// In: how a function is to run; out: how it ran. One of the `TIER_*`.
    pub tier: u32,
    /// Where in a memory to read.
    pub offset: u64,
    /// Where what is read goes.
    pub data: *mut u8,
    /// Bytes to read.
    pub data_len: usize,
    /// Where the text of a refusal goes.
    pub text: *mut u8,
    /// Bytes that fit there.
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

    /// Validates, translates and instantiates. Returns 0, or a negative errno and a text.
    ///
    /// # Safety
    ///
    /// Process context, on a thread whose allocations go to a region of its own. The pointers in
    /// `request` are valid for what they say.
    pub fn nf_wasm_engine_build(request: *mut BuildRequest) -> i32;

    /// Runs `nfw_filter` once, with `fuel`. Does not allocate beyond the packet reserve, lock or
    /// sleep. Fills in `version`, `size` and `window_len` of the context.
    ///
    /// # Safety
    ///
    /// `instance` came from [`nf_wasm_engine_build`], its region lives, and nobody else uses it
    /// during the call. `context` is valid. The callbacks that are handed `host` take it.
    pub fn nf_wasm_engine_call(
        instance: *mut c_void,
        host: *mut c_void,
        context: *mut Context,
        fuel: u64,
    ) -> CallOutcome;

    /// Carries out a test's operation. Returns 0, or a negative errno and a text.
    ///
    /// # Safety
    ///
    /// As [`nf_wasm_engine_build`]; all operations of a session have the same region, and one is
    /// carried out at a time.
    pub fn nf_wasm_engine_guest_test(request: *mut GuestTestRequest) -> i32;

    // The kernel half, called by the engine.

    /// `GlobalAlloc::alloc`: null if memory or the region's budget is used up.
    ///
    /// # Safety
    ///
    /// Called by the engine, on a packet's path or a thread that was given a region for it.
    pub fn nf_wasm_host_alloc(size: usize, align: usize) -> *mut u8;

    /// `GlobalAlloc::dealloc`.
    ///
    /// # Safety
    ///
    /// As [`nf_wasm_host_alloc`], which `ptr` came from with the same `size` and `align`, for the same
    /// instance or session. It is not used again.
    pub fn nf_wasm_host_free(ptr: *mut u8, size: usize, align: usize);

    /// The engine panicked, or an allocation that cannot fail did. Ends the load's thread.
    ///
    /// # Safety
    ///
    /// `text` is valid for `len` bytes.
    pub fn nf_wasm_host_panic(text: *const u8, len: usize) -> !;

    /// Copies `len` bytes of the packet, from `offset` after its network header, to `to`.
    /// Returns how many pieces of memory, beyond the first, were looked at, or a negative errno.
    ///
    /// # Safety
    ///
    /// `host` is the current call's; `to` is valid for `len` bytes.
    pub fn nf_wasm_host_load(host: *mut c_void, offset: u32, to: *mut u8, len: u32) -> i32;

    /// Logs one line of the guest's.
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

    /// Has the kernel compile instructions. Returns the program, or null, and then in `reason` a text
    /// with NUL that says why.
    ///
    /// # Safety
    ///
    /// All pointers are valid for what they say.
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

    /// Frees what [`nf_wasm_host_jit`] made. It does not run any more.
    ///
    /// # Safety
    ///
    /// `program` is nobody's but the caller's.
    pub fn nf_wasm_host_jit_free(program: *mut c_void);

    /// Lets others run, on the thread of a build, and says whether the build is still wanted: its caller
    /// may have been killed. Called every so often while a filter is compiled.
    ///
    /// # Safety
    ///
    /// As [`nf_wasm_engine_build`], whose thread this is called on.
    pub fn nf_wasm_host_pause() -> bool;

    /// The instance that is being built has come to a stage: check (0), translate, instantiate,
    /// warm, ready, and if it is compiled: compile, and ready (4) again.
    ///
    /// # Safety
    ///
    /// `host` is the current build's.
    pub fn nf_wasm_host_enter(host: *mut c_void, stage: u32);
}
