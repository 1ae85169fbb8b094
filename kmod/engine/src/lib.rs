// SPDX-License-Identifier: GPL-2.0-only
//! The engine as an object of the kernel module: the engine's side of the boundary.
//!
//! It provides what a `no_std` crate needs, an allocator and a panic handler. Both call the kernel
//! half. This crate knows of the kernel only what is in `shared/src/boundary.rs`.
#![no_std]

extern crate alloc;

mod guest_test;
mod memory;
mod panic;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::ffi::{c_void, CStr};
use core::{mem, ptr, slice};

use abi::guest::Context;
use abi::ioctl::{NO_TRAP, TIER_INTERP, TIER_JIT, TIER_REASON_LEN};
use boundary::{
    nf_wasm_host_enter, nf_wasm_host_jit, nf_wasm_host_load, nf_wasm_host_log, nf_wasm_host_mark,
    nf_wasm_host_now, nf_wasm_host_pause, nf_wasm_host_set_mark, BuildRequest, CallOutcome,
    InPlaceCall, NativeFilter,
};
use nf_wasm_engine::{
    Clock, Compiled, Host, Instance, Options, Refusal, RefusalKind, Run, Snapshot, Stage,
    Unsupported,
};
use nf_wasm_jit::Code;
use nf_wasm_shared::{abi, boundary};

/// The kernel half's host of the current call. For native code, the kernel half itself writes the
/// address to the [`HostState`](nf_wasm_shared::machine::HostState).
#[repr(transparent)]
struct KernelHost(*mut c_void);

impl Host for KernelHost {
    #[inline]
    fn load(&mut self, offset: u32, to: &mut [u8]) -> Result<u32, i32> {
        // SAFETY: `self.0` is the current call's. `to` is valid for its length, and is a part of
        // linear memory, so its length fits `u32`.
        let result = unsafe { nf_wasm_host_load(self.0, offset, to.as_mut_ptr(), to.len() as u32) };
        u32::try_from(result).map_err(|_| result)
    }

    fn log(&mut self, text: &[u8]) {
        // SAFETY: `self.0` is the current call's; `text` is valid for its length.
        unsafe { nf_wasm_host_log(self.0, text.as_ptr(), text.len()) }
    }

    fn now(&mut self, clock: Clock) -> u64 {
        let clock = match clock {
            Clock::Monotonic => 0,
            Clock::Realtime => 1,
        };
        // SAFETY: `self.0` is the current call's.
        unsafe { nf_wasm_host_now(self.0, clock) }
    }

    fn mark(&mut self) -> u32 {
        // SAFETY: `self.0` is the current call's.
        unsafe { nf_wasm_host_mark(self.0) }
    }

    fn set_mark(&mut self, mark: u32) {
        // SAFETY: `self.0` is the current call's.
        unsafe { nf_wasm_host_set_mark(self.0, mark) }
    }

    fn pause(&mut self) -> bool {
        // SAFETY: Filters are compiled only in `build`, which runs on a build thread.
        unsafe { nf_wasm_host_pause() }
    }

    fn enter(&mut self, stage: Stage) {
        // SAFETY: `self.0` is the current build's.
        unsafe { nf_wasm_host_enter(self.0, stage as u32) }
    }
}

/// See [`boundary::nf_wasm_engine_build`].
///
/// # Safety
///
/// As declared there.
#[no_mangle]
pub(crate) unsafe extern "C" fn nf_wasm_engine_build(request: *mut BuildRequest) -> i32 {
    // SAFETY: by the declaration's contract it is valid, and ours until we return.
    let request = unsafe { &mut *request };
    match build(request) {
        Ok(()) => 0,
        Err(refusal) => {
            // SAFETY: by the declaration's contract `text` is valid for `text_len` bytes.
            request.text_used = unsafe { report(&refusal, request.text, request.text_len) };
            -refusal.kind.errno()
        }
    }
}

fn build(request: &mut BuildRequest) -> Result<(), Refusal> {
    request.text_used = 0;
    request.snapshot = ptr::null_mut();
    // SAFETY: by the contract of `nf_wasm_engine_build` it is valid for its length.
    let wasm = unsafe { slice::from_raw_parts(request.wasm, request.wasm_len) };
    let options = Options {
        capabilities: request.capabilities,
        snaplen: request.snaplen,
        memory_pages: request.memory_pages,
        init_fuel: request.init_fuel,
    };
    let mut snapshot = Snapshot::new(wasm, &options, KernelHost(request.host))?;
    request.capabilities_used = snapshot.capabilities_used();
    request.compiled = false;
    request.tier_reason = [0; TIER_REASON_LEN];
    let native = match request.tier {
        TIER_INTERP => None,
        tier => match compile(&mut snapshot, wasm, request.fuel)? {
            Ok(native) => Some(native),
            Err(why) if tier == TIER_JIT => {
                let message = format!("the filter cannot run as native code, because {why}; load it with --tier auto to have it interpreted");
                return Err(Refusal::new(RefusalKind::Unsupported, message));
            }
            Err(why) => {
                // The field was zeroed, and its last byte is not overwritten, so the text ends with
                // NUL.
                let text = why.as_bytes();
                let len = text.len().min(TIER_REASON_LEN - 1);
                request.tier_reason[..len].copy_from_slice(&text[..len]);
                None
            }
        },
    };
    if let Some(native) = native {
        request.native.write(native);
        request.compiled = true;
    }
    // The host of `nfw_init` ends here.
    snapshot.host_mut().0 = ptr::null_mut();
    // Never dropped: it lives in the region, which is freed as a whole.
    request.snapshot = Box::into_raw(snapshot).cast();
    Ok(())
}

/// Compiles the filter to native code. The inner `Err` says why it cannot be compiled; the outer
/// one ends the build.
#[inline(never)]
fn compile(
    snapshot: &mut Snapshot<KernelHost>,
    wasm: &[u8],
    fuel: u64,
) -> Result<Result<NativeFilter, String>, Refusal> {
    snapshot.host_mut().enter(Stage::Compile);
    // `MAX_FUEL` fits.
    match snapshot.compile(wasm, fuel as u32) {
        Ok(compiled) => Ok(assemble(snapshot, compiled)),
        Err(Unsupported::Aborted) => {
            let message = "the caller was killed while the filter was compiled";
            Err(Refusal::new(RefusalKind::Interrupted, message))
        }
        Err(why) => Ok(Err(why.to_string())),
    }
}

fn assemble(
    snapshot: &mut Snapshot<KernelHost>,
    compiled: Compiled,
) -> Result<NativeFilter, String> {
    let code = &compiled.code;
    let Native { program, run } = native(code).map_err(|why| why.to_string_lossy().into_owned())?;
    // From here on nothing may allocate: a failure would end the thread and leak the `bpf_prog`,
    // which is not in the region.
    let in_place = compiled.in_place.as_ref();
    let in_place = in_place.and_then(|code| Some((native(code).ok()?, code.in_place)));
    let memory = snapshot.memory();
    let filter = NativeFilter {
        program,
        run,
        slots: compiled.slots(),
        globals_len: compiled.globals.len() as u32,
        globals: compiled.globals.as_ptr(),
        memory: memory.as_ptr(),
        memory_bytes: memory.len(),
        guard_bytes: compiled.guard() as usize,
        reads_packet: compiled.context.is_some(),
        calls_host: code.calls_host,
        context: compiled.context.unwrap_or(0),
        snaplen: compiled.snaplen,
        window: compiled.window,
        in_place: match in_place {
            None => InPlaceCall {
                program: ptr::null_mut(),
                run: None,
                window: 0,
                context_words: 0,
            },
            Some((Native { program, run }, reads)) => InPlaceCall {
                program,
                run: Some(run),
                window: reads.window,
                // The context has twelve words, so the set fits.
                context_words: reads.context as u32,
            },
        },
    };
    // The globals live in the region.
    mem::forget(compiled);
    snapshot.host_mut().enter(Stage::Ready);
    Ok(filter)
}

/// A `bpf_prog` and its code.
struct Native {
    program: *mut c_void,
    run: Run,
}

/// Has the kernel's eBPF compiler make native code. `Err` says why it did not. Does not allocate
/// from the region.
fn native(code: &Code) -> Result<Native, &'static CStr> {
    let helpers = nf_wasm_engine::helper_addresses::<KernelHost>();
    let mut run = ptr::null();
    let mut reason = c"".as_ptr();
    // SAFETY: instructions and calls are valid for their lengths. The calls' numbers are indices
    // of the addresses. The rest is ours, and may be written to.
    let program = unsafe {
        nf_wasm_host_jit(
            code.insns.as_ptr().cast(),
            code.insns.len() as u32,
            code.calls.as_ptr(),
            code.calls.len() as u32,
            helpers.as_ptr(),
            code.stack,
            &mut run,
            &mut reason,
        )
    };
    if program.is_null() {
        // SAFETY: if it returns null, the kernel half sets the reason to a constant text with NUL.
        return Err(unsafe { CStr::from_ptr(reason) });
    }
    // SAFETY: if it returns a program, the kernel half sets this to the program's code, which is
    // not null, and is a `bpf_func_t` as `Run` is.
    let run = unsafe { core::mem::transmute::<*const c_void, Run>(run) };
    Ok(Native { program, run })
}

/// Copies as much of a refusal's text as fits, in whole characters. Returns the number of bytes.
///
/// # Safety
///
/// `to` is valid for `room` bytes.
unsafe fn report(refusal: &Refusal, to: *mut u8, room: usize) -> usize {
    let text = &refusal.message;
    let mut len = text.len().min(room);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: `text` has at least `len` bytes, and so does the caller's buffer; they do not
    // overlap.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), to, len) };
    len
}

/// See [`boundary::nf_wasm_engine_copy`].
///
/// # Safety
///
/// As declared there.
#[no_mangle]
pub(crate) unsafe extern "C" fn nf_wasm_engine_copy(
    snapshot: *const c_void,
    host: *mut c_void,
) -> *mut c_void {
    // SAFETY: `build` made it, and its region lives. Nobody writes to it any more.
    let snapshot = unsafe { &*snapshot.cast::<Snapshot<KernelHost>>() };
    let instance = snapshot.instance(KernelHost(host)).map(|mut instance| {
        // The host of the copy ends here; each call sets its own.
        instance.host_mut().0 = ptr::null_mut();
        instance
    });
    // Never dropped: it lives in the region.
    instance.map_or(ptr::null_mut(), |instance| Box::into_raw(instance).cast())
}

/// See [`boundary::nf_wasm_engine_call`].
///
/// # Safety
///
/// As declared there.
#[no_mangle]
pub(crate) unsafe extern "C" fn nf_wasm_engine_call(
    instance: *mut c_void,
    host: *mut c_void,
    context: *mut Context,
    fuel: u64,
) -> CallOutcome {
    // SAFETY: `copy` made it, and no other code uses it now.
    let instance = unsafe { &mut *instance.cast::<Instance<KernelHost>>() };
    instance.host_mut().0 = host;
    // SAFETY: by the declaration's contract it is valid, and no other code uses it until we return.
    let outcome = instance.call(unsafe { &mut *context }, fuel);
    let (verdict, trap) = match outcome.verdict {
        Ok(verdict) => (verdict, NO_TRAP),
        Err(trap) => (0, trap as u32),
    };
    CallOutcome {
        verdict,
        trap,
        fuel_used: outcome.fuel_used,
    }
}

/// See [`boundary::nf_wasm_engine_restore`].
///
/// # Safety
///
/// As declared there.
#[no_mangle]
pub(crate) unsafe extern "C" fn nf_wasm_engine_restore(
    instance: *mut c_void,
    snapshot: *const c_void,
) {
    // SAFETY: `build` made the snapshot, its region lives, and nobody writes to it any more. `copy`
    // made the instance, and no other code uses it now.
    let (instance, snapshot) = unsafe {
        (
            &mut *instance.cast::<Instance<KernelHost>>(),
            &*snapshot.cast::<Snapshot<KernelHost>>(),
        )
    };
    instance.restore(snapshot);
}
