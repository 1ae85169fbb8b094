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
use core::{ptr, slice};

use abi::guest::Context;
use abi::ioctl::{NO_TRAP, TIER_INTERP, TIER_JIT, TIER_REASON_LEN};
use boundary::{
    nf_wasm_host_enter, nf_wasm_host_jit, nf_wasm_host_load, nf_wasm_host_log, nf_wasm_host_mark,
    nf_wasm_host_now, nf_wasm_host_pause, nf_wasm_host_set_mark, BuildRequest, CallOutcome,
    InPlaceCall, NativeCall,
};
use nf_wasm_engine::{
    Clock, Host, Instance, Options, Refusal, RefusalKind, Run, Stage, Unsupported,
};
use nf_wasm_jit::Code;
use nf_wasm_shared::{abi, boundary};

/// The kernel half's host of the current call. For a filter with native code, the kernel half
/// itself writes the address here.
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
    request.instance = ptr::null_mut();
    // SAFETY: by the contract of `nf_wasm_engine_build` it is valid for its length.
    let wasm = unsafe { slice::from_raw_parts(request.wasm, request.wasm_len) };
    let options = Options {
        capabilities: request.capabilities,
        snaplen: request.snaplen,
        memory_pages: request.memory_pages,
        init_fuel: request.init_fuel,
    };
    let mut instance = Instance::new(wasm, &options, KernelHost(request.host))?;
    request.capabilities_used = instance.capabilities_used();
    request.compiled = false;
    request.tier_reason = [0; TIER_REASON_LEN];
    let compiled = match request.tier {
        TIER_INTERP => None,
        tier => match compile(&mut instance, wasm)? {
            Ok(compiled) => Some(compiled),
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
    // The host of `nfw_init` ends here; each call sets its own.
    instance.host_mut().0 = ptr::null_mut();
    // Never dropped: it lives in the region, which is freed as a whole.
    let instance = Box::into_raw(instance);
    // SAFETY: it is valid, and does not move. The kernel half lets only one thread at a time use
    // the instance and the result of `link`, and keeps the program as long as the instance.
    if let Some(call) = compiled.and_then(|compiled| unsafe { link(instance, &compiled) }) {
        request.native.write(call);
        request.compiled = true;
    }
    request.instance = instance.cast();
    Ok(())
}

/// A `bpf_prog` and its code.
struct Native {
    program: *mut c_void,
    run: Run,
}

struct Compiled {
    native: Native,
    /// The code that decides packets in place.
    in_place: Option<Native>,
}

/// Compiles the filter to native code. The inner `Err` says why it cannot be compiled; the outer
/// one ends the build.
#[inline(never)]
fn compile(
    instance: &mut Instance<KernelHost>,
    wasm: &[u8],
) -> Result<Result<Compiled, String>, Refusal> {
    instance.host_mut().enter(Stage::Compile);
    match instance.compile(wasm) {
        Ok(code) => Ok(assemble(instance, &code)),
        Err(Unsupported::Aborted) => {
            let message = "the caller was killed while the filter was compiled";
            Err(Refusal::new(RefusalKind::Interrupted, message))
        }
        Err(why) => Ok(Err(why.to_string())),
    }
}

fn assemble(
    instance: &mut Instance<KernelHost>,
    (code, in_place): &(Code, Option<Code>),
) -> Result<Compiled, String> {
    let compiled = Compiled {
        native: native(code).map_err(|why| why.to_string_lossy().into_owned())?,
        // From here on nothing may allocate: a failure would end the thread and leak the program,
        // which is not in the region.
        in_place: in_place.as_ref().and_then(|code| native(code).ok()),
    };
    instance.host_mut().enter(Stage::Ready);
    Ok(compiled)
}

/// Has the kernel's eBPF compiler make native code. `Err` says why it did not. Does not allocate
/// from the region.
fn native(code: &Code) -> Result<Native, &'static CStr> {
    let helpers = nf_wasm_jit::Helper::ALL.map(nf_wasm_engine::helper_address::<KernelHost>);
    let mut run = ptr::null();
    let mut reason = c"".as_ptr();
    // SAFETY: instructions and calls are valid for their lengths. The calls' numbers are less than
    // the number of helpers. The rest is ours, and may be written to.
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

/// Makes the instance run as native code.
///
/// # Safety
///
/// As `Instance::link`.
unsafe fn link(instance: *mut Instance<KernelHost>, compiled: &Compiled) -> Option<NativeCall> {
    let Native { program, run } = compiled.native;
    // SAFETY: by the contract the instance is valid, does not move, and is used by one thread at a
    // time. The code was made from the result of its `compile`, and is kept with the instance.
    let entry = unsafe { Instance::link(instance, run)? };
    let in_place = compiled.in_place.as_ref();
    let in_place = InPlaceCall {
        program: in_place.map_or(ptr::null_mut(), |native| native.program),
        run: in_place.map(|native| native.run),
        window: entry.in_place.window,
        // The context has twelve words, so the set fits.
        context_words: entry.in_place.context as u32,
    };
    Some(NativeCall {
        program,
        run,
        machine: entry.machine,
        context: entry.context,
        snaplen: entry.snaplen,
        window: entry.window,
        in_place,
        // `KernelHost` is a transparent pointer.
        host: entry.host.cast(),
        packet_len: entry.packet_len,
    })
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
    // SAFETY: `build` made it, and no other code uses it now.
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
