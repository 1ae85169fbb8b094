// SPDX-License-Identifier: GPL-2.0-only
//! The engine as an object of the kernel module: the boundary's engine side.
//!
//! It brings what `no_std` leaves to the surroundings, an allocator and a panic handler, and both
//! lead back to the kernel half. Nothing of the kernel is known here but `kmod/boundary.rs`.
#![no_std]

extern crate alloc;

use nf_wasm_abi as abi;

#[path = "../../boundary.rs"]
mod boundary;
mod guest_test;
mod memory;
mod panic;

use alloc::boxed::Box;
use core::ffi::c_void;
use core::{ptr, slice};

use abi::guest::Context;
use abi::ioctl::NO_TRAP;
use boundary::{
    nf_wasm_host_enter, nf_wasm_host_load, nf_wasm_host_log, nf_wasm_host_mark, nf_wasm_host_now,
    nf_wasm_host_set_mark, BuildRequest, CallOutcome,
};
use nf_wasm_engine::{Clock, Host, Instance, Options, Refusal, Stage};

/// What the kernel half handed over for the current call.
struct KernelHost(*mut c_void);

impl Host for KernelHost {
    #[inline]
    fn load(&mut self, offset: u32, to: &mut [u8]) -> Result<u32, i32> {
        // SAFETY: `self.0` is the current call's; `to` is valid for its length, which is that of
        // a part of linear memory and fits `u32`.
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
    // SAFETY: the caller's promise.
    let request = unsafe { &mut *request };
    match build(request) {
        Ok(()) => 0,
        Err(refusal) => {
            // SAFETY: the caller's promise.
            request.text_used = unsafe { report(&refusal, request.text, request.text_len) };
            -refusal.kind.errno()
        }
    }
}

fn build(request: &mut BuildRequest) -> Result<(), Refusal> {
    request.text_used = 0;
    request.instance = ptr::null_mut();
    // SAFETY: the caller's promise.
    let wasm = unsafe { slice::from_raw_parts(request.wasm, request.wasm_len) };
    let options = Options {
        capabilities: request.capabilities,
        snaplen: request.snaplen,
        memory_pages: request.memory_pages,
        init_fuel: request.init_fuel,
    };
    let mut instance = Instance::new(wasm, &options, KernelHost(request.host))?;
    // Each call brings its own; the one of `nfw_init` ends here.
    instance.host_mut().0 = ptr::null_mut();
    request.capabilities_used = instance.capabilities_used();
    // Never dropped: the region that it lives in is freed as a whole.
    request.instance = Box::into_raw(instance).cast();
    Ok(())
}

/// Hands over as much of a refusal's text as fits, whole characters only. Returns its bytes.
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
    // SAFETY: `text` has `len` bytes and the caller's buffer at least as many; they are distinct.
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
    // SAFETY: `build` made it, and nobody else uses it now.
    let instance = unsafe { &mut *instance.cast::<Instance<KernelHost>>() };
    instance.host_mut().0 = host;
    // SAFETY: the caller's promise.
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
